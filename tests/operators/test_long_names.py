"""A name that is too long for the store is found before the submit, whatever it belongs to; the longest fit."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.execution.items import wants_of
from airflow_provider_segmind.operators.segmind import SegmindRunModelOperator, SegmindRunWorkflowOperator
from airflow_provider_segmind.storage.names import cut, keyed
from airflow_provider_segmind.storage.paths import object_path, room_in, temporary
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.buckets import BUCKET, CONN
from tests.operators.batch_dag import batch_dag
from tests.task_runner import run_tasks


def named(size, rest=".jpg"):
    """Return a name of so many bytes."""
    return "n" * (size - len(rest)) + rest


def assert_refused(run, emulator, task_id="t"):
    assert run.state == "failed"
    assert "and the store allows" in run.log
    assert "Shorten the destination" in run.log
    assert run.task(task_id).try_number == 1, "the error is permanent"
    assert (emulator.stats.submits_attempted, emulator.stats.uploads) == (0, 0)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (named(255), {}),
        (named(250), {"sidecar": True}),
        (named(250), {"skip_existing": True}),
        ("{request_id}" + named(219), {}),
        ("\u00e9" * 125 + ".jpg", {}),
        (named(256, ".{ext}"), {}),
        ("n" * 255 + "/x.jpg", {}),
    ],
)
def test_the_longest_names_are_stored(upscale, tmp_path, name, options, deferrable):
    run = upscale(destination=f"file://{tmp_path}/out/{name}", deferrable=deferrable, **options)
    assert run.state == "success", run.log
    assert len(list((tmp_path / "out").iterdir())) == 1 + bool(options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (named(256), {}),
        (named(251), {"sidecar": True}),
        (named(251), {"skip_existing": True}),
        (named(251), {"if_exists": "skip"}),
        ("{request_id}" + named(220), {}),
        ("\u00e9" * 126 + ".jpg", {}),
        (named(257, ".{ext}"), {}),
        ("n" * 256 + "/x.jpg", {}),
    ],
)
def test_a_longer_name_is_refused(upscale, segmind_emulator, tmp_path, name, options, deferrable):
    run = upscale(destination=f"file://{tmp_path}/out/{name}", deferrable=deferrable, **options)
    assert_refused(run, segmind_emulator)
    assert list(tmp_path.iterdir()) == []


def test_previews_count(upscale, segmind_emulator, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW__SEGMIND__SERVE_PREVIEWS", "True")
    assert_refused(upscale(destination=f"file://{tmp_path}/{named(243)}"), segmind_emulator)
    run = upscale(destination=f"file://{tmp_path}/{named(242)}")
    assert run.state == "success"
    assert run.xcom("t")["stored"][0]["preview"]["after"]


def test_the_name_of_a_mapped_input_counts(upscale, segmind_emulator, tmp_path, photos):
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / named(250)
    source.write_bytes((photos / "cat.jpg").read_bytes())
    run = upscale(
        expand={"input_path": [f"file://{photos}/cat.jpg", f"file://{source}"]},
        destination=f"file://{tmp_path}/out/{{stem}}_large.{{ext}}",
    )
    assert run.states()["t"] == ["success", "failed"]
    assert len(segmind_emulator.requests) == 1
    assert "Shorten the destination" in run.log


@pytest.mark.parametrize(("size", "fits"), [(1024, True), (1025, False)])
def test_keys_of_s3(upscale, bucket, segmind_emulator, size, fits, deferrable):
    key = f"{'f' * 500}/{'g' * 300}/"
    key += named(size - len(key))
    run = upscale(destination=f"s3://{CONN}@{BUCKET}/{key}", deferrable=deferrable)
    if fits:
        assert run.state == "success", run.log
        assert set(bucket.objects()) == {key}
    else:
        assert_refused(run, segmind_emulator)


@pytest.mark.parametrize(("operator", "size"), [("model", 253), ("workflow", 172)])
def test_further_outputs_count(airflow_db, segmind_emulator, tmp_path, operator, size):
    with DAG("further", schedule=None) as dag:
        arguments = {"task_id": "t", "destination": f"file://{tmp_path}/{named(size)}"}
        if operator == "model":
            SegmindRunModelOperator(model="echo-model", parameters={}, **arguments)
        else:
            SegmindRunWorkflowOperator(workflow="some-workflow", inputs={}, **arguments)
    assert_refused(run_tasks(dag), segmind_emulator)


def test_a_transfer_writes_nothing(airflow_db, segmind_emulator, photos, tmp_path):
    result = {"request_id": "r", "model": "esrgan", "output": segmind_emulator.add_image(photos / "cat.jpg")}
    with DAG("transfer", schedule=None) as dag:
        SegmindToObjectStorageOperator(task_id="t", result=result, destination=f"file://{tmp_path}/{named(256)}")
    assert_refused(run_tasks(dag), segmind_emulator)


def test_the_outputs_of_a_batch_are_cut_by_bytes():
    """The vendor's URLs are ASCII, and the names in them are not."""
    [want] = wants_of("esrgan", [f"https://x.example/{'%E6%BC%A2' * 70}.jpg"], {}, gateway="g")
    assert want.name.startswith("\u6f22" * 26 + "-")
    assert len(want.name.encode()) == 78 + 1 + 8


def test_the_manifest_of_a_batch_counts(airflow_db, segmind_emulator, images, tmp_path):
    run = run_tasks(batch_dag(tmp_path, images(1), task_id="t" * 245))
    assert_refused(run, segmind_emulator, "t" * 245)


def test_a_text_is_cut_between_characters():
    assert cut("a\u00e9b", 2) == "a"
    assert cut("a\u00e9b", 3) == "a\u00e9"
    assert cut("abc", 0) == cut("abc", -5) == ""
    assert len(keyed("\u6f22" * 100, "12345678").encode()) == 78 + 9


def test_a_temporary_name_is_as_long_as_the_store_allows(airflow_db, bucket, tmp_path):
    for base in (f"file://{tmp_path}", f"s3://{CONN}@{BUCKET}/{'f' * 800}"):
        folder = object_path(f"{base}/x", None).parent
        room = room_in(folder)
        assert len(temporary(folder / "cat.jpg", "part").name) == len(".cat.jpg..part") + 12
        assert len(temporary(folder / ("n" * room), "part").name) == room
    assert room_in(object_path("memory:///a/b", None)) is None


def test_names_of_a_batch_are_different_in_every_store():
    """Two names that a store may take for one have the whole key."""
    urls = [f"https://x.example/{number}/{name}.png" for number in range(40) for name in ("Cat", "cat")]
    wants = wants_of("esrgan", urls, {}, gateway="g")
    assert len({want.name.casefold() for want in wants}) == len(urls)
    assert all(len(want.name) == len("cat-") + 8 for want in wants)


def test_names_of_a_batch_whose_keys_begin_alike(monkeypatch):
    from airflow_provider_segmind.execution import items

    monkeypatch.setattr(items, "KEY_DIGITS", 0)
    wants = wants_of("esrgan", [f"https://x.example/{name}.png" for name in ("Cat", "cat", "dog")], {}, gateway="g")
    assert [len(want.name) for want in wants] == [24, 24, 4]
    assert len({want.name.casefold() for want in wants}) == 3
