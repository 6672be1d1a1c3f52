"""Destinations: the checks before the submit, mapped tasks with one destination, unusual names."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.operators.segmind import (
    SegmindEsrganOperator,
)
from tests.buckets import BUCKET, CONN
from tests.task_runner import run_tasks

ESRGAN = SegmindEsrganOperator
URL = "https://www.segmind.com/butterfly.png"


def files(folder):
    """Return the relative paths of all files in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        ("file://{tmp}/file/out/x.png", "NotADirectoryError"),
        ("file:///proc/segmind/x.png", "destination /proc/segmind|destination file:///proc"),
        ("s3://no-such-bucket/x.png", "NoSuchBucket|does not exist"),
        ("s3://no-such-bucket/folder/", "NoSuchBucket|does not exist"),
        ("s3://{bucket}/{{{{ '{wrong}' }}}}.png", "unknown placeholder"),
        ("{{{{ '' }}}}", "is not a URI"),
    ],
)
def test_a_destination_that_cannot_be_written_fails_before_the_submit(
    upscale, bucket, tmp_path, segmind_emulator, deferrable, destination, message
):
    (tmp_path / "file").write_text("a file, not a folder")
    destination = (
        destination.replace("{tmp}", str(tmp_path))
        .replace("{bucket}", BUCKET)
        .replace("{{{{", "{{")
        .replace("}}}}", "}}")
    )
    conn = CONN if destination.startswith("s3") else None
    run = upscale(destination=destination, destination_conn_id=conn, deferrable=deferrable)
    assert run.state == "failed"
    assert re.search(message, run.log)
    assert run.task("t").try_number == 1, "the error is permanent"
    assert (segmind_emulator.stats.submits_attempted, segmind_emulator.stats.uploads) == (0, 0)
    assert files(tmp_path) == ["file"]


def test_an_unavailable_storage_is_retried(upscale, bucket, segmind_emulator, monkeypatch):
    monkeypatch.setenv(
        "AIRFLOW_CONN_DOWN_S3",
        json.dumps(
            {
                "conn_type": "aws",
                "login": "x",
                "password": "x",
                "extra": {
                    "endpoint_url": "http://127.0.0.1:9",
                    "region_name": "us-east-1",
                    "config_kwargs": {"connect_timeout": 1, "retries": {"max_attempts": 0}},
                },
            }
        ),
    )
    run = upscale(destination=f"s3://down_s3@{BUCKET}/x.png")
    assert run.state == "failed"
    assert run.task("t").try_number == 2
    assert "Nothing was submitted" in run.log
    assert segmind_emulator.stats.submits_attempted == 0


def test_the_probe_leaves_no_object_and_no_folder(airflow_db, tmp_path, bucket):
    from airflow_provider_segmind.storage import object_path
    from airflow_provider_segmind.storage.paths import probe

    probe(object_path(f"file://{tmp_path}/a/b/c.png", None))
    assert list(tmp_path.iterdir()) == []
    probe(object_path(f"s3://{CONN}@{BUCKET}/a/b/c.png", None))
    probe(object_path("memory://somewhere/c.png", None))
    assert bucket.objects() == {}


def test_a_destination_that_renders_to_none_fails_before_the_submit(airflow_db, segmind_emulator):
    with DAG("none", schedule=None, render_template_as_native_obj=True) as dag:
        ESRGAN(task_id="t", image=URL, destination="{{ none }}")
    run = run_tasks(dag)
    assert run.state == "failed"
    assert "destination: a template rendered to nothing" in run.log
    assert segmind_emulator.stats.submits_attempted == 0


@pytest.mark.parametrize("place", ["file", "s3"])
def test_two_mapped_tasks_must_not_have_one_destination(
    upscale, bucket, photos, tmp_path, segmind_emulator, deferrable, place
):
    base = f"s3://{CONN}@{BUCKET}" if place == "s3" else f"file://{tmp_path}"
    photos = [f"file://{photos}/{name}" for name in ("cat.jpg", "astronaut.png")]
    run = upscale(expand={"input_path": photos}, destination=f"{base}/same.jpg", deferrable=deferrable)
    assert sorted(run.states()["t"]) == ["failed", "success"]
    assert re.search(r"the mapped tasks \d and \d have the same destination: .*same\.jpg", run.log)
    first = run.states()["t"].index("success")  # either can be first
    assert run.task("t", 1 - first).try_number == 1, "the error is permanent"
    assert segmind_emulator.stats.submits_attempted == 1
    [stored] = run.xcom("t", first)["stored"]
    content = bucket.read("same.jpg") if place == "s3" else (tmp_path / "same.jpg").read_bytes()
    assert stored["sha256"] == hashlib.sha256(content).hexdigest(), "the output of the first task is unchanged"


def test_a_cleared_task_keeps_its_destination(upscale, photos, tmp_path, segmind_emulator):
    photos = [f"file://{photos}/{name}" for name in ("cat.jpg", "astronaut.png")]
    run = upscale(expand={"input_path": photos}, destination=f"file://{tmp_path}/same.jpg")
    assert sorted(run.states()["t"]) == ["failed", "success"]
    assert run.again("t").states() == run.states()


def test_mapped_tasks_may_share_an_existing_folder_without_a_slash(upscale, photos, tmp_path):
    photos = [f"file://{photos}/{name}" for name in ("cat.jpg", "astronaut.png")]
    assert upscale(expand={"input_path": photos}, destination=f"file://{tmp_path}").state == "success"
    assert files(tmp_path) == ["t_0.jpg", "t_1.jpg"]


@pytest.mark.parametrize("base", ["file", "memory", "s3"])
@pytest.mark.parametrize("name", ["[1]/a [2].png", "a*b.png", "c?.png"])
def test_names_with_glob_characters_are_stored(airflow_db, segmind_emulator, bucket, tmp_path, photos, base, name):
    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.wire import Result
    from airflow_provider_segmind.storage import object_path, store_result

    folder = {"file": f"file://{tmp_path}", "memory": f"memory://{tmp_path.name}", "s3": f"s3://{CONN}@{BUCKET}"}[base]
    url = segmind_emulator.add_image(photos / "cat.jpg")
    with SegmindHook() as hook:
        result = Result(request_id="r", model="esrgan", output=url)
        [stored] = store_result(hook, result, f"{folder}/{name}", name="t")
    assert object_path(stored.uri, None).read_bytes() == (photos / "cat.jpg").read_bytes()
    if base == "s3":
        assert set(bucket.objects()) == {name}
