"""Which paths and URLs name the same object, in stores that fold names and in those that do not."""

from __future__ import annotations

import os

import pytest

from airflow_provider_segmind.storage.paths import object_path
from airflow_provider_segmind.storage.same_object import is_same, name_in_bucket
from tests.buckets import BUCKET, CONN
from tests.folding import CaseFolding, FoldingFileSystem, FormFolding, use_for_memory

NFC, NFD = "caf\u00e9.png", "cafe\u0301.png"


@pytest.mark.parametrize(
    ("kind", "one", "other", "same"),
    [
        (FoldingFileSystem, "A.png", "a.png", True),
        (FoldingFileSystem, NFC, NFD, True),
        (FoldingFileSystem, NFC, NFD.upper(), True),
        (FoldingFileSystem, "a.png", "b.png", False),
        (CaseFolding, "A.png", "a.png", True),
        (CaseFolding, NFC, NFD, False),
        (FormFolding, "A.png", "a.png", False),
        (FormFolding, NFC, NFD, True),
    ],
)
def test_what_a_store_folds_is_found_by_writing_to_it(airflow_db, monkeypatch, kind, one, other, same):
    use_for_memory(monkeypatch, kind)
    assert is_same(*(object_path(f"memory:///in/{name}", None) for name in (one, other))) is same
    assert kind.store == {}, "nothing is left"


@pytest.mark.parametrize("base", ["file://{tmp}", f"s3://{CONN}@{BUCKET}", "memory:///plain"])
@pytest.mark.parametrize(("one", "other"), [("A.png", "a.png"), (NFC, NFD)])
def test_a_store_that_folds_nothing_has_two_objects(airflow_db, bucket, tmp_path, base, one, other):
    base = base.replace("{tmp}", str(tmp_path))
    assert not is_same(*(object_path(f"{base}/{name}", None) for name in (one, other)))
    assert is_same(*(object_path(f"{base}/{one}", None) for _ in range(2)))
    assert bucket.objects() == {}
    assert list(tmp_path.iterdir()) == []


def test_spellings_of_a_local_file(airflow_db, tmp_path):
    (tmp_path / "a").mkdir()
    file = tmp_path / "a" / "cat.jpg"
    file.write_bytes(b"x")
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    (tmp_path / "link.jpg").symlink_to(file)
    os.link(file, tmp_path / "hard.jpg")
    (tmp_path / "copy.jpg").write_bytes(b"x")
    for name in ("a/cat.jpg", "a/../a/cat.jpg", "a/./cat.jpg", "linked/cat.jpg", "link.jpg", "hard.jpg"):
        assert is_same(object_path(f"file://{tmp_path}/{name}", None), object_path(f"file://{file}", None)), name
    for name in ("copy.jpg", "a/dog.jpg", "cat.jpg"):
        assert not is_same(object_path(f"file://{tmp_path}/{name}", None), object_path(f"file://{file}", None)), name


def test_one_object_through_two_connections(airflow_db, bucket):
    one, other = (object_path(f"s3://{conn}@{BUCKET}/in/cat.jpg", None) for conn in (CONN, "other_s3"))
    assert is_same(one, other)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("{endpoint}/images/in/cat.jpg", "images/in/cat.jpg"),
        ("{endpoint}/images/in/a%20b%231.jpg?X-Amz-Signature=x", "images/in/a b#1.jpg"),
        ("http://localhost:{port}/images/cat.jpg", "images/cat.jpg"),
        ("http://images.localhost:{port}/cat.jpg", "images/cat.jpg"),
        ("https://images.s3.amazonaws.com/cat.jpg", None),  # the store of the path is another service
        ("https://cdn.example/images/cat.jpg", None),
        ("data:image/png;base64,AAAA", None),
    ],
)
def test_urls_of_a_bucket_at_an_endpoint(airflow_db, bucket, s3_server, url, name):
    url = url.replace("{endpoint}", s3_server).replace("{port}", s3_server.rpartition(":")[2])
    assert name_in_bucket(url, object_path(f"s3://{CONN}@{BUCKET}/x.jpg", None)) == name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://images.s3.amazonaws.com/in/cat.jpg", "images/in/cat.jpg"),
        ("https://images.s3.eu-west-1.amazonaws.com/in/cat.jpg?X-Amz-Signature=x", "images/in/cat.jpg"),
        ("https://images.s3-us-west-2.amazonaws.com/cat.jpg", "images/cat.jpg"),
        ("https://images.s3.dualstack.eu-west-1.amazonaws.com/cat.jpg", "images/cat.jpg"),
        ("https://images.s3-accelerate.amazonaws.com/cat.jpg", "images/cat.jpg"),
        ("https://s3.eu-west-1.amazonaws.com/images/cat.jpg", "images/cat.jpg"),
        ("https://other.s3.amazonaws.com/images/cat.jpg", None),
        ("https://s3.amazonaws.com/other/cat.jpg", "other/cat.jpg"),
    ],
)
@pytest.mark.parametrize("endpoint", [None, "https://s3.eu-west-1.amazonaws.com"])
def test_urls_of_a_bucket_at_aws(airflow_db, monkeypatch, url, name, endpoint):
    extra = f'{{"endpoint_url": "{endpoint}"}}' if endpoint else "{}"
    monkeypatch.setenv(
        "AIRFLOW_CONN_AT_AWS", f'{{"conn_type": "aws", "login": "x", "password": "x", "extra": {extra}}}'
    )
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert name_in_bucket(url, object_path("s3://at_aws@images/x.jpg", None)) == name
