"""A batch: waves, a manifest, only missing items in the next run, and one bill for each image."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.execution.claim import Claim
from airflow_provider_segmind.operators.segmind import SegmindBatchOperator
from tests.airflow_versions import needs_airflow_sdk
from tests.buckets import BUCKET, CONN
from tests.operators.batch_dag import batch_dag, images_in, manifest_rows
from tests.task_runner import run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls", "own_rate_limit_files")


def test_a_batch_runs_in_one_task(segmind_emulator, images, folder):
    items = images(12)
    run = run_tasks(batch_dag(folder, items, max_in_flight=5))
    assert run.state == "success"
    assert run.states() == {"upscale": ["success"]}
    assert segmind_emulator.stats.submits_accepted == 12
    value = run.xcom("upscale")
    assert value["manifest"] == f"file://{folder}/upscale.manifest.jsonl"
    assert (value["total"], value["stored"], value["failed"], value["reused"]) == (12, 12, 0, 0)
    assert value["metrics"]["cost"] > 0
    assert value["metrics"]["remaining_credits"] is not None
    rows = manifest_rows(folder)
    assert [row["index"] for row in rows] == list(range(12))
    for row in rows:
        assert row["state"] == "delivered"
        assert row["item"] == {"image": items[row["index"]]}
        [stored] = row["stored"]
        assert f"-image-{row['index']}-{row['key'][:8]}.jpg" in stored["uri"]
        assert stored["width"] > 0
        assert row["result"]["metrics"]["cost"] > 0
        assert row["submitted_at"] <= row["finished_at"]
    assert len(images_in(folder)) == 12
    assert segmind_emulator.api_key not in run.log + json.dumps(rows)


def test_no_more_requests_run_at_once_than_max_in_flight(segmind_emulator, images, folder):
    segmind_emulator.reset(latency=0.5)
    run = run_tasks(batch_dag(folder, images(9), max_in_flight=3))
    assert run.state == "success"
    submits = sorted(seen.submitted_at for seen in segmind_emulator.requests)
    assert len(submits) == 9
    for first, fourth in zip(submits, submits[3:], strict=False):
        assert fourth - first >= 0.3  # the first request must end before the fourth is submitted


def test_the_batch_submits_at_most_requests_per_minute(segmind_emulator, images, folder, monkeypatch):
    from airflow_provider_segmind.execution import waves

    monkeypatch.setattr(waves, "_WINDOW", 3.0)
    segmind_emulator.reset(rate_limit=4, rate_window=2.9)
    run = run_tasks(batch_dag(folder, images(10), requests_per_minute=4))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_attempted == 10  # no submit exceeded the limit
    assert run.deferrals >= 3


def test_the_batch_waits_for_segminds_rate_limit(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "status:429", times=3, headers={"retry-after": "1"})
    run = run_tasks(batch_dag(folder, images(6)))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 6


def test_items_with_the_same_parameters_are_one_image(segmind_emulator, images, folder):
    [image] = images(1)
    items = [image, {"image": image}, {"image": image, "scale": 4}]
    run = run_tasks(batch_dag(folder, items, parameters={"scale": 2}))
    assert run.xcom("upscale")["total"] == 2
    assert segmind_emulator.stats.submits_accepted == 2
    assert "1 of 3 items have the parameters of another one" in run.log


def test_a_clear_submits_nothing_if_nothing_is_missing(segmind_emulator, images, folder):
    run = run_tasks(batch_dag(folder, images(4)))
    first = images_in(folder)
    again = run.again("upscale")
    assert again.state == "success"
    assert segmind_emulator.stats.submits_accepted == 4
    assert again.xcom("upscale")["reused"] == 4
    assert again.xcom("upscale")["metrics"]["cost"] == 0
    assert images_in(folder) == first


def test_another_run_with_more_items_submits_the_missing_ones(segmind_emulator, images, folder):
    items = images(5)
    run_tasks(batch_dag(folder, items[:3]))
    run = run_tasks(batch_dag(folder, list(reversed(items))))
    assert run.xcom("upscale")["reused"] == 3
    assert segmind_emulator.stats.submits_accepted == 5
    assert len(images_in(folder)) == 5


def test_rows_of_other_items_stay_in_the_manifest(segmind_emulator, images, folder):
    items = images(3)
    run_tasks(batch_dag(folder, items[:2]))
    run_tasks(batch_dag(folder, items[2:]))
    run = run_tasks(batch_dag(folder, items[:1]))
    assert run.xcom("upscale")["reused"] == 1
    assert segmind_emulator.stats.submits_accepted == 3


def test_two_runs_do_not_use_one_manifest_at_the_same_time(segmind_emulator, images, folder):
    folder.mkdir()
    claim = folder / "upscale.claim"
    owner = {"dag_id": "batch", "run_id": "another_run", "task_id": "upscale", "map_index": -1}
    until = time.time() + 60
    claim.write_text(json.dumps(asdict(Claim(owner, 1, until, until - 60, "other items"))))
    run = run_tasks(batch_dag(folder, images(1)))
    assert run.state == "failed"
    named = f"batch another_run upscale -1; its claim file://{folder}/upscale.claim"
    assert f"another run is working on the batch: {named}" in run.log
    assert f"or at {until:.0f} (epoch seconds) if Airflow does not report its state" in run.log
    assert json.loads(claim.read_text())["owner"] == owner, "a run must not release the claim of another run"
    assert segmind_emulator.stats.submits_attempted == 0
    claim.write_text(
        json.dumps(asdict(Claim(owner, 1, time.time() - 1, until - 60, "other items")))
    )  # the other run was killed
    assert run.again("upscale").state == "success", "the other run's claim has ended"
    left = json.loads(claim.read_text())  # the claim of other items stays, but it has ended
    assert left["until"] <= time.time()


@needs_airflow_sdk  # Airflow 2's dag.test() does not render templates again on a resume; its workers do
def test_items_that_render_differently_after_the_deferral_fail_the_task(segmind_emulator, images, folder):
    """Otherwise each resume would submit and bill another batch."""
    found = images(4)
    with DAG(
        "batch", schedule=None, user_defined_macros={"now": lambda: [found.pop()]}, render_template_as_native_obj=True
    ) as dag:
        SegmindBatchOperator(task_id="upscale", model="esrgan", items="{{ now() }}", destination=f"file://{folder}")
    run = run_tasks(dag)
    assert run.state == "failed"
    assert "the items are not the same as before the deferral" in run.log
    assert segmind_emulator.stats.submits_accepted == 1


def test_a_deleted_image_is_downloaded_again_without_a_bill(segmind_emulator, images, folder):
    run = run_tasks(batch_dag(folder, images(3)))
    assert run.xcom("upscale")["metrics"]["cost"] > 0
    (folder / images_in(folder)[1]).unlink()
    again = run.again("upscale")
    assert len(images_in(folder)) == 3
    assert segmind_emulator.stats.submits_accepted == 3
    assert again.xcom("upscale")["metrics"]["cost"] == 0, "the run that delivered it first reported its cost"


# --- invalid input ---------------------------------------------------------------------------------------------------


def test_every_invalid_item_is_named_before_the_first_submit(segmind_emulator, images, folder):
    items = [*images(2), "nothing", {"image": "https://x.example/a.png", "scale": 3}, 7]
    run = run_tasks(batch_dag(folder, items))
    assert run.state == "failed"
    for message in (
        "item 2: parameters of esrgan: image",
        "item 3: parameters of esrgan: scale",
        "item 4: it is neither",
    ):
        assert message in run.log
    assert segmind_emulator.stats.submits_attempted == 0


@pytest.mark.parametrize("items", ["https://x.example/a.png", {"image": "https://x.example/a.png"}])
def test_items_that_are_not_a_list_fail_the_task(segmind_emulator, folder, items):
    run = run_tasks(batch_dag(folder, items))
    assert run.state == "failed"
    assert "items must be a list" in run.log


def test_an_unreadable_manifest_fails_the_task(segmind_emulator, images, folder):
    folder.mkdir()
    (folder / "upscale.manifest.jsonl").write_text('{"key": "a", "unknown": 1}\nnonsense\n')
    run = run_tasks(batch_dag(folder, images(1)))
    assert run.state == "failed"
    assert "upscale.manifest.jsonl, line 2" in run.log
    assert segmind_emulator.stats.submits_attempted == 0


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_in_flight": 0},
        {"requests_per_minute": 0},
        {"max_failures": -1},
        {"destination": "/tmp/out"},
        {"on_lost_submit": "ignore"},
        {"parameters": {"scale": 3}},
        {"destination": "file:///tmp/{stem}/"},
        {"timeout": 0},
    ],
)
def test_invalid_arguments_break_the_import_of_the_dag(folder, arguments):
    with pytest.raises(SegmindConfigError):
        batch_dag(folder, [], **arguments)


def test_a_folder_that_cannot_be_written_fails_before_the_first_submit(segmind_emulator, images, tmp_path):
    (tmp_path / "file").write_text("a file, not a folder")
    run = run_tasks(batch_dag(tmp_path / "file" / "out", images(1)))
    assert run.state == "failed"
    assert segmind_emulator.stats.submits_attempted == 0


def test_the_destination_of_a_batch_may_contain_the_model(segmind_emulator, images, tmp_path):
    run = run_tasks(batch_dag(tmp_path / "{model}", images(1)))
    assert run.state == "success"
    assert len(images_in(tmp_path / "esrgan")) == 1


def test_a_batch_stores_into_a_bucket(segmind_emulator, images, bucket):
    run = run_tasks(batch_dag("unused", images(3), destination=f"s3://{BUCKET}/batch/", destination_conn_id=CONN))
    assert run.state == "success"
    names = sorted(key.removeprefix("batch/") for key in bucket.objects())
    assert names[-1] == "upscale.manifest.jsonl"
    assert len(names) == 4  # no temporary object


def test_an_empty_list_is_a_success(segmind_emulator, folder):
    run = run_tasks(batch_dag(folder, []))
    assert run.state == "success"
    assert run.xcom("upscale")["total"] == 0


def test_the_xcom_of_a_large_batch_is_small(segmind_emulator, images, folder):
    run = run_tasks(batch_dag(folder, images(150), parameters={"output_format": "jpeg"}, max_in_flight=150))
    assert run.state == "success"
    assert len(json.dumps(run.xcom("upscale"))) < 1000
    assert len(manifest_rows(folder)) == 150
