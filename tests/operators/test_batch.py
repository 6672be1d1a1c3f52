"""A batch: waves, a manifest, and only what is missing on the next run; each picture paid for once."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.hooks import gate
from airflow_provider_segmind.operators import batch, submit_many
from airflow_provider_segmind.operators.segmind import SegmindBatchOperator
from airflow_provider_segmind.protocol import waiting
from airflow_provider_segmind.retrying import ONCE
from tests.airflow_versions import needs_airflow_sdk
from tests.buckets import BUCKET, CONN
from tests.task_runner import run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls")


@pytest.fixture(autouse=True)
def own_notes(tmp_path, monkeypatch):
    """Notes about limits are per machine; a test has its own."""
    monkeypatch.setattr(gate.tempfile, "gettempdir", lambda: str(tmp_path))


@pytest.fixture
def images(segmind_emulator, photos):
    """Addresses of so many different pictures."""

    def make(count):
        names = sorted(path for path in photos.iterdir() if path.suffix in (".jpg", ".png"))
        return [segmind_emulator.add_picture(names[i % len(names)], name=f"picture-{i}.png") for i in range(count)]

    return make


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


def dag_of(folder, items, **arguments):
    with DAG("batch", schedule=None) as dag:
        SegmindBatchOperator(
            **{
                "task_id": "upscale",
                "model": "esrgan",
                "items": items,
                "destination": f"file://{folder}",
                "retries": 0,
                "retry_delay": timedelta(0),
                "lost_submit_wait": 0.5,
                **arguments,
            }
        )
    return dag


def rows_of(folder):
    text = (folder / "upscale.manifest.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def pictures_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".jsonl")


def test_a_batch_in_one_task(segmind_emulator, images, folder):
    items = images(12)
    run = run_tasks(dag_of(folder, items, max_in_flight=5))
    assert run.state == "success"
    assert run.states() == {"upscale": ["success"]}
    assert segmind_emulator.stats.submits_accepted == 12
    value = run.xcom("upscale")
    assert value["manifest"] == f"file://{folder}/upscale.manifest.jsonl"
    assert (value["total"], value["stored"], value["failed"], value["reused"]) == (12, 12, 0, 0)
    assert value["metrics"]["cost"] > 0
    assert value["metrics"]["remaining_credits"] is not None
    rows = rows_of(folder)
    assert [row["index"] for row in rows] == list(range(12))
    for row in rows:
        assert row["state"] == "stored"
        assert row["item"] == {"image": items[row["index"]]}
        [stored] = row["stored"]
        assert f"-picture-{row['index']}-{row['key'][:8]}.jpg" in stored["uri"]
        assert stored["width"] > 0
        assert row["result"]["metrics"]["cost"] > 0
        assert row["submitted_at"] <= row["finished_at"]
    assert len(pictures_in(folder)) == 12
    assert segmind_emulator.api_key not in run.log + json.dumps(rows)


def test_no_more_in_flight_than_allowed(segmind_emulator, images, folder):
    segmind_emulator.reset(latency=0.5)
    run = run_tasks(dag_of(folder, images(9), max_in_flight=3))
    assert run.state == "success"
    submits = sorted(seen.submitted_at for seen in segmind_emulator.requests)
    assert len(submits) == 9
    for first, fourth in zip(submits, submits[3:], strict=False):
        assert fourth - first >= 0.3  # the first has to end before the fourth is sent


def test_submits_keep_to_the_requests_per_minute(segmind_emulator, images, folder, monkeypatch):
    from airflow_provider_segmind.protocol import batch as protocol

    monkeypatch.setattr(protocol, "_WINDOW", 3.0)
    segmind_emulator.reset(rate_limit=4, rate_window=2.9)
    run = run_tasks(dag_of(folder, images(10), requests_per_minute=4))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_attempted == 10  # none met the limit
    assert run.deferrals >= 3


def test_the_vendors_limit_is_waited_out(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "status:429", times=3, headers={"retry-after": "1"})
    run = run_tasks(dag_of(folder, images(6)))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 6


def test_items_with_the_same_parameters_are_one_picture(segmind_emulator, images, folder):
    [image] = images(1)
    items = [image, {"image": image}, {"image": image, "scale": 4}]
    run = run_tasks(dag_of(folder, items, parameters={"scale": 2}))
    assert run.xcom("upscale")["total"] == 2
    assert segmind_emulator.stats.submits_accepted == 2
    assert "1 of 3 items have the parameters of another one" in run.log


def test_a_clear_does_nothing_where_nothing_is_missing(segmind_emulator, images, folder):
    run = run_tasks(dag_of(folder, images(4)))
    first = pictures_in(folder)
    again = run.again("upscale")
    assert again.state == "success"
    assert segmind_emulator.stats.submits_accepted == 4
    assert again.xcom("upscale")["reused"] == 4
    assert again.xcom("upscale")["metrics"]["cost"] == 0
    assert pictures_in(folder) == first


def test_another_run_with_more_items_does_what_is_missing(segmind_emulator, images, folder):
    items = images(5)
    run_tasks(dag_of(folder, items[:3]))
    run = run_tasks(dag_of(folder, list(reversed(items))))
    assert run.xcom("upscale")["reused"] == 3
    assert segmind_emulator.stats.submits_accepted == 5
    assert len(pictures_in(folder)) == 5


def test_rows_of_other_items_stay_in_the_manifest(segmind_emulator, images, folder):
    items = images(3)
    run_tasks(dag_of(folder, items[:2]))
    run_tasks(dag_of(folder, items[2:]))
    run = run_tasks(dag_of(folder, items[:1]))
    assert run.xcom("upscale")["reused"] == 1
    assert segmind_emulator.stats.submits_accepted == 3


def test_two_runs_do_not_work_on_one_manifest(segmind_emulator, images, folder):
    folder.mkdir()
    claim = folder / "upscale.claim"
    claim.write_text(f"another run\n{time.time() + 60:.0f}")
    run = run_tasks(dag_of(folder, images(1)))
    assert run.state == "failed"
    assert "another run works on" in run.log
    assert segmind_emulator.stats.submits_attempted == 0
    claim.write_text(f"another run\n{time.time() - 1:.0f}")  # it died, and its time is over
    assert run.again("upscale").state == "success"
    assert not claim.exists()


@needs_airflow_sdk  # the dag.test() of Airflow 2 does not render again what it resumes; its workers do
def test_items_that_render_differently_after_the_deferral(segmind_emulator, images, folder):
    """A list of what is there now: each resume would pay for another batch."""
    found = images(4)
    with DAG(
        "batch", schedule=None, user_defined_macros={"now": lambda: [found.pop()]}, render_template_as_native_obj=True
    ) as dag:
        SegmindBatchOperator(task_id="upscale", model="esrgan", items="{{ now() }}", destination=f"file://{folder}")
    run = run_tasks(dag)
    assert run.state == "failed"
    assert "the items are others than before the deferral" in run.log
    assert segmind_emulator.stats.submits_accepted == 1


def test_a_picture_that_was_deleted_is_fetched_again_for_free(segmind_emulator, images, folder):
    run = run_tasks(dag_of(folder, images(3)))
    (folder / pictures_in(folder)[1]).unlink()
    run.again("upscale")
    assert len(pictures_in(folder)) == 3
    assert segmind_emulator.stats.submits_accepted == 3


# --- failures ------------------------------------------------------------------------------------------------------


def test_a_few_failures_are_in_the_manifest(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "fail:out of memory", times=2)
    run = run_tasks(dag_of(folder, images(6), max_failures=2))
    assert run.state == "success"
    value = run.xcom("upscale")
    assert (value["stored"], value["failed"], value["errors"]) == (4, 2, {"SegmindRequestFailedError": 2})
    failed = [row for row in rows_of(folder) if row["state"] == "failed"]
    assert [row["error"]["detail"] for row in failed] == ["out of memory"] * 2
    assert all(row["request_id"] for row in failed)


def test_too_many_failures_fail_the_task_and_a_clear_does_the_rest(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "fail:out of memory", times=3)
    run = run_tasks(dag_of(folder, images(6), max_failures=2))
    assert run.state == "failed"
    assert "3 of 6 pictures failed, max_failures is 2" in run.log
    assert "out of memory" in run.log
    again = run.again("upscale")
    assert again.state == "success"
    assert again.xcom("upscale")["reused"] == 3
    assert segmind_emulator.stats.submits_accepted == 9  # the three that failed were free


def test_what_is_wrong_with_one_item_is_its_own_failure(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "status:400", times=1, body={"error": "image is too small"})
    run = run_tasks(dag_of(folder, images(4), max_failures=1))
    assert run.state == "success"
    assert [row["error"]["type"] for row in rows_of(folder) if row["state"] == "failed"] == [
        "SegmindInvalidRequestError"
    ]


def test_one_picture_that_breaks_the_model_does_not_stop_the_others(segmind_emulator, images, folder, monkeypatch):
    monkeypatch.setattr(submit_many, "SUBMIT_BUDGET", ONCE)
    segmind_emulator.faults.add("submit", "status:500", times=1)
    run = run_tasks(dag_of(folder, images(6), max_failures=1))
    assert run.state == "success"
    assert run.xcom("upscale")["errors"] == {"SegmindServerError": 1}


def test_a_gateway_that_breaks_for_all_ends_the_submits(segmind_emulator, images, folder, monkeypatch):
    monkeypatch.setattr(submit_many, "SUBMIT_BUDGET", ONCE)
    segmind_emulator.faults.add("submit", "status:500")
    run = run_tasks(dag_of(folder, images(20), max_failures=20))
    assert run.state == "failed"
    assert segmind_emulator.stats.submits_attempted == submit_many._AT_ONCE


def test_answers_that_are_all_lost_are_paid_for_once_more_at_most(segmind_emulator, images, folder):
    """Accepted, never answered, and a history that shows nothing: resubmit must not go on for ever."""
    segmind_emulator.reset(history_delay=3600)
    segmind_emulator.faults.add("submit", "drop_after")
    run = run_tasks(dag_of(folder, images(6), on_lost_submit="resubmit", lost_submit_wait=0.1))
    assert run.state == "failed"
    assert segmind_emulator.stats.submits_accepted <= 2 * 6


def test_a_history_that_does_not_answer_is_no_leave_to_resubmit(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "drop_after", times=1)
    segmind_emulator.faults.add("history", "status:500")
    run = run_tasks(dag_of(folder, images(2), on_lost_submit="resubmit", lost_submit_wait=0.1, max_failures=1))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 2


def test_a_limit_that_does_not_end_is_told(segmind_emulator, images, folder, monkeypatch):
    monkeypatch.setattr(batch, "_LEAST_PATIENCE", 0.5)
    segmind_emulator.faults.add("submit", "status:429", headers={"retry-after": "1"})
    run = run_tasks(dag_of(folder, images(2), timeout=0.5))
    assert run.state == "failed"
    assert "rate limit is reached" in run.log


@pytest.mark.parametrize(("status", "error"), [(401, "key"), (402, "credits")])
def test_what_concerns_all_ends_the_submits_and_what_is_open_is_stored(
    segmind_emulator, images, folder, monkeypatch, status, error
):
    monkeypatch.setattr(submit_many, "_AT_ONCE", 2)
    segmind_emulator.reset(latency=0.3)
    items = images(8)
    run = run_tasks(dag_of(folder, items, max_in_flight=2, max_failures=8))
    assert run.state == "success"
    other = folder.parent / "other"
    segmind_emulator.faults.add("submit", f"status:{status}", body={"error": error})
    items = images(10)
    run = run_tasks(dag_of(other, items, retries=0, max_failures=8))
    assert run.state == "failed"
    assert error in run.log
    attempted = segmind_emulator.stats.submits_attempted
    assert attempted <= 8 + 2
    assert {row["state"] for row in rows_of(other)} == {"waiting"}


def test_an_output_that_cannot_be_stored_is_not_paid_for_again(segmind_emulator, images, folder):
    segmind_emulator.faults.add("output", "status:404", times=1)
    segmind_emulator.faults.add("output", "garbage", times=1)
    run = run_tasks(dag_of(folder, images(3), max_failures=0))
    assert run.state == "failed"
    assert segmind_emulator.stats.submits_accepted == 3
    failed = [row["error"]["type"] for row in rows_of(folder) if row["state"] == "failed"]
    assert sorted(failed) == ["SegmindDownloadError", "SegmindOutputError"]
    again = run.again("upscale")
    assert again.state == "success"
    # what the host did not have any more is the one that has to be made again
    assert segmind_emulator.stats.submits_accepted == 4


def test_a_picture_that_takes_too_long_is_looked_at_again_by_the_next_try(segmind_emulator, images, folder):
    segmind_emulator.reset(latency=4.0)
    run = run_tasks(dag_of(folder, images(2), timeout=1.0))
    assert run.state == "failed"
    assert {row["error"]["type"] for row in rows_of(folder)} == {"SegmindTimeoutError"}
    segmind_emulator.advance(10)
    again = run.again("upscale")
    assert again.state == "success"
    assert segmind_emulator.stats.submits_accepted == 2


def test_a_time_out_of_yesterday_is_taken_from_the_history(segmind_emulator, images, folder, monkeypatch):
    segmind_emulator.reset(latency=2.0)
    run = run_tasks(dag_of(folder, images(1), timeout=0.5))
    assert run.state == "failed"
    segmind_emulator.advance(2 * 3600)
    monkeypatch.setattr(submit_many, "RECORDS_LIVE", -1.0)  # the emulator's clock is ahead, ours is not
    again = run.again("upscale")
    assert again.state == "success"
    assert segmind_emulator.stats.submits_accepted == 1


@pytest.mark.parametrize("fault", ["drop_after", "garbage", "missing_fields"])
def test_a_lost_answer_is_found_in_the_history(segmind_emulator, images, folder, fault):
    segmind_emulator.faults.add("submit", fault, times=2)
    run = run_tasks(dag_of(folder, images(5)))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 5


def test_a_lost_answer_that_nobody_knows_is_left_to_a_person(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "drop_before", times=1)
    run = run_tasks(dag_of(folder, images(3), max_failures=1))
    assert run.state == "success"
    [lost] = [row for row in rows_of(folder) if row["state"] == "failed"]
    assert lost["error"]["type"] == "SegmindAnswerLostError"
    assert segmind_emulator.stats.submits_accepted == 2
    assert run.again("upscale").xcom("upscale")["failed"] == 1  # it is looked for again, and not submitted
    assert segmind_emulator.stats.submits_accepted == 2
    resubmitting = run_tasks(
        dag_of(folder, [row["item"]["image"] for row in rows_of(folder)], on_lost_submit="resubmit")
    )
    assert resubmitting.state == "success"
    assert segmind_emulator.stats.submits_accepted == 3


# --- interruptions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 4, 7])
def test_a_retry_goes_on_where_the_last_try_was_interrupted(segmind_emulator, images, folder, monkeypatch, at):
    """A try that ends with an answer that was not even read: all that is known lies in the ledger."""
    monkeypatch.setattr(submit_many, "_AT_ONCE", 3)
    answered, original = [], submit_many.Wave._answered

    def interrupted(self, row, future):
        answered.append(row)
        if len(answered) == at:
            raise ConnectionError("the process is gone")
        original(self, row, future)

    monkeypatch.setattr(submit_many.Wave, "_answered", interrupted)
    run = run_tasks(dag_of(folder, images(8), retries=1))
    assert run.state == "success"
    assert run.task("upscale").try_number == 2
    assert segmind_emulator.stats.submits_accepted == 8
    assert len(pictures_in(folder)) == 8


def test_a_try_that_dies_while_storing_fetches_again_and_pays_nothing(segmind_emulator, images, folder, monkeypatch):
    stored, original = [], batch.BatchFolder.write

    def interrupted(self, rows):
        stored.append(rows)
        if len(stored) == 2:
            raise ConnectionError("the process is gone")
        original(self, rows)

    monkeypatch.setattr(batch.BatchFolder, "write", interrupted)
    run = run_tasks(dag_of(folder, images(5), retries=1))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 5


def test_without_a_ledger_the_event_remembers(segmind_emulator, images, folder):
    run = run_tasks(dag_of(folder, images(4), durable=False, max_in_flight=2))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 4


def test_a_manifest_that_goes_missing_while_it_is_needed(segmind_emulator, images, folder, monkeypatch):
    """What was stored would be paid for again: better to stop, and say so."""
    original = waiting.Watch.steps

    def and_someone_cleans_up(self, clock):
        (folder / "upscale.manifest.jsonl").unlink(missing_ok=True)
        return original(self, clock)

    monkeypatch.setattr(waiting.Watch, "steps", and_someone_cleans_up)
    run = run_tasks(dag_of(folder, images(2)))
    assert run.state == "failed"
    assert "has gone since the batch began" in run.log


# --- bad input -----------------------------------------------------------------------------------------------------


def test_every_wrong_item_is_named_before_anything_is_sent(segmind_emulator, images, folder):
    items = [*images(2), "nothing", {"image": "https://x.example/a.png", "scale": 3}, 7]
    run = run_tasks(dag_of(folder, items))
    assert run.state == "failed"
    for said in ("item 2: parameters of esrgan: image", "item 3: parameters of esrgan: scale", "item 4: it is neither"):
        assert said in run.log
    assert segmind_emulator.stats.submits_attempted == 0


@pytest.mark.parametrize("items", ["https://x.example/a.png", {"image": "https://x.example/a.png"}])
def test_items_are_a_list(segmind_emulator, folder, items):
    run = run_tasks(dag_of(folder, items))
    assert run.state == "failed"
    assert "items must be a list" in run.log


def test_a_manifest_that_cannot_be_read_is_not_ignored(segmind_emulator, images, folder):
    folder.mkdir()
    (folder / "upscale.manifest.jsonl").write_text('{"key": "a", "unknown": 1}\nnonsense\n')
    run = run_tasks(dag_of(folder, images(1)))
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
        {"on_lost_submit": "hope"},
        {"parameters": {"scale": 3}},
        {"destination": "file:///tmp/{stem}/"},
        {"timeout": 0},
    ],
)
def test_wrong_arguments_break_the_import_of_the_dag(folder, arguments):
    with pytest.raises(SegmindConfigError):
        dag_of(folder, [], **arguments)


def test_a_folder_that_cannot_be_written_costs_nothing(segmind_emulator, images, tmp_path):
    (tmp_path / "file").write_text("a file, no folder")
    run = run_tasks(dag_of(tmp_path / "file" / "out", images(1)))
    assert run.state == "failed"
    assert segmind_emulator.stats.submits_attempted == 0


def test_the_model_may_name_the_folder(segmind_emulator, images, tmp_path):
    run = run_tasks(dag_of(tmp_path / "{model}", images(1)))
    assert run.state == "success"
    assert len(pictures_in(tmp_path / "esrgan")) == 1


def test_a_bucket(segmind_emulator, images, bucket):
    run = run_tasks(dag_of("unused", images(3), destination=f"s3://{BUCKET}/batch/", destination_conn_id=CONN))
    assert run.state == "success"
    names = sorted(key.removeprefix("batch/") for key in bucket.objects())
    assert names[-1] == "upscale.manifest.jsonl"
    assert len(names) == 4  # and nothing temporary


def test_nothing_to_do(segmind_emulator, folder):
    run = run_tasks(dag_of(folder, []))
    assert run.state == "success"
    assert run.xcom("upscale")["total"] == 0


def test_xcom_stays_small_whatever_the_size(segmind_emulator, images, folder):
    run = run_tasks(dag_of(folder, images(150), parameters={"output_format": "jpeg"}, max_in_flight=150))
    assert run.state == "success"
    assert len(json.dumps(run.xcom("upscale"))) < 1000
    assert len(rows_of(folder)) == 150
