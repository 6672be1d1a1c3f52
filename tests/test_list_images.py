"""list_images: what a folder, a pattern or an object means, in every kind of store."""

from __future__ import annotations

import json

import pytest

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindStorageError
from airflow_provider_segmind.storage import list_images, object_path
from airflow_provider_segmind.storage.inputs import load_image
from tests.buckets import BUCKET, CONN

NAMES = ["b.png", "a cat.JPG", "c[1].webp", "notes.txt", "b.png.json", "sub/d.jpeg", ".hidden"]
FLAT, DEEP = ["a cat.JPG", "b.png", "c[1].webp"], "sub/d.jpeg"


@pytest.fixture(params=["file", "memory", "s3"])
def folder(request, airflow_db, tmp_path, bucket):
    base = {
        "file": f"file://{tmp_path}/in",
        "memory": f"memory:///{tmp_path.name}/in",
        "s3": f"s3://{CONN}@{BUCKET}/in",
    }[request.param]
    for name in NAMES:
        path = object_path(f"{base}/{name}", None)
        path.fs.makedirs(path.parent.path, exist_ok=True)
        path.write_bytes(b"x")
    return base


def names(uris, folder):
    assert all(uri.startswith(f"{folder}/") for uri in uris), uris
    return [uri.removeprefix(f"{folder}/") for uri in uris]


def test_folder_pattern_and_object(folder):
    assert names(list_images(f"{folder}/"), folder) == FLAT
    assert names(list_images(folder), folder) == FLAT
    assert names(list_images(f"{folder}/*.png"), folder) == ["b.png"]
    assert names(list_images(f"{folder}/**/*.jpeg"), folder) == [DEEP]
    assert names(list_images(f"{folder}/**"), folder) == sorted([*FLAT, DEEP])
    assert names(list_images(f"{folder}/b.png"), folder) == ["b.png"]
    assert list_images(f"{folder}/*.tiff") == []


def test_each_uri_can_be_read(folder):
    for uri in list_images(f"{folder}/**"):
        assert object_path(uri, None).read_bytes() == b"x"


def test_what_comes_later_is_seen(folder):
    list_images(folder)
    object_path(f"{folder}/z.png", None).write_bytes(b"x")
    assert names(list_images(folder), folder)[-1] == "z.png"


def test_an_empty_folder_is_a_day_without_images(airflow_db, tmp_path, bucket):
    (tmp_path / "empty").mkdir()
    assert list_images(f"file://{tmp_path}/empty") == []
    assert list_images(f"s3://{BUCKET}/2026-01-01/", CONN) == []
    assert list_images(f"s3://{BUCKET}/", CONN) == []


@pytest.mark.parametrize(
    ("uri", "conn_id", "message"),
    [
        ("file:///not/there/", None, "it does not exist"),
        ("file:///not/there/*.png", None, "it does not exist"),
        ("s3://no-such-bucket/in/", CONN, "it does not exist"),
        ("s3://no-such-bucket/in/*.png", CONN, "it does not exist"),
        (f"s3://{BUCKET}/in/", "not_there", "not_there"),
        ("/data/in", None, "is not a URI"),
        ("gs://bucket/in", None, r"airflow-provider-segmind\[gcs\]"),
    ],
)
def test_what_cannot_be_listed(airflow_db, bucket, uri, conn_id, message):
    with pytest.raises(SegmindConfigError, match=message):
        list_images(uri, conn_id)


def test_a_store_that_is_down(airflow_db, monkeypatch):
    extra = {
        "endpoint_url": "http://127.0.0.1:9",
        "region_name": "us-east-1",
        "config_kwargs": {"connect_timeout": 1, "retries": {"max_attempts": 0}},
    }
    connection = {"conn_type": "aws", "login": "x", "password": "x", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_LIST_DOWN_S3", json.dumps(connection))
    with pytest.raises(SegmindStorageError) as caught:
        list_images(f"s3://{BUCKET}/in/", "list_down_s3")
    assert caught.value.retryable


ODD = [
    "photo[1].jpg",
    "a*b.png",
    "what?.png",
    "h#1.png",
    "p%20q.png",
    "sp ace.png",
    "ü.png",
    "u\u0308.png",
    "a&b+c.png",
]


@pytest.fixture(params=["file", "memory", "s3"])
def base(request, airflow_db, tmp_path, bucket):
    """A folder in each kind of store, whose name has the characters of patterns."""
    return {
        "file": f"file://{tmp_path}/[2024] holi*days?",
        "memory": f"memory:///{tmp_path.name}/[2024] holi*days?",
        "s3": f"s3://{CONN}@{BUCKET}/[2024] holi*days?",
    }[request.param]


def put(uri, content=b"x"):
    path = object_path(uri, None)
    path.fs.makedirs(path.parent.path, exist_ok=True)
    with path.fs.open(path.path, "wb") as file:
        file.write(content)


def test_what_exists_as_it_is_written_is_not_a_pattern(base):
    for name in ("photo[1].jpg", "photo1.jpg", "what?.png", "whatX.png", "sub[a]/d.png", "suba/e.png", "x.txt"):
        put(f"{base}/{name}")
    everything = ["photo1.jpg", "photo[1].jpg", "what?.png", "whatX.png"]
    assert names(list_images(base), base) == everything
    assert names(list_images(f"{base}/"), base) == everything
    assert names(list_images(f"{base}/photo[1].jpg"), base) == ["photo[1].jpg"]
    assert names(list_images(f"{base}/what?.png"), base) == ["what?.png"]
    assert names(list_images(f"{base}/sub[a]"), base) == ["sub[a]/d.png"]
    assert names(list_images(f"{base}/sub[a]/*.png"), base) == ["sub[a]/d.png"]
    # What does not exist as it is written is a pattern, below what exists.
    assert names(list_images(f"{base}/what[?X].png"), base) == ["what?.png", "whatX.png"]
    assert names(list_images(f"{base}/*.jpg"), base) == ["photo1.jpg", "photo[1].jpg"]
    assert names(list_images(f"{base}/photo?.jpg"), base) == ["photo1.jpg"]
    assert names(list_images(f"{base}/**"), base) == sorted([*everything, "sub[a]/d.png", "suba/e.png"])
    assert list_images(f"{base}/*.tiff") == []


def test_each_odd_name_is_read_and_stored(base, photos):
    content = (photos / "cat.jpg").read_bytes()
    for name in ODD:
        put(f"{base}/{name}", content)
    found = list_images(base)
    assert sorted(names(found, base)) == sorted(ODD)
    for uri in found:
        image = load_image(uri, None)
        assert image.content == content
        assert f"{uri.rpartition('/')[2]}" == image.path.name


def test_what_failed_the_verification_is_not_an_input(base):
    for name in ("a.png", ".quarantine/a.png", "sub/.quarantine/b.png", "not.quarantine/c.png"):
        put(f"{base}/{name}")
    assert names(list_images(base), base) == ["a.png"]
    assert names(list_images(f"{base}/**"), base) == ["a.png", "not.quarantine/c.png"]
    assert list_images(f"{base}/.quarantine/") == []


@pytest.mark.parametrize("name", ["a::b.png", "a\nb.png", "a\tb.png"])
def test_a_name_of_which_the_library_would_use_a_part_is_refused(base, name):
    with pytest.raises(SegmindConfigError, match="Rename the object"):
        object_path(f"{base}/{name}", None)
