"""A batch of which something goes wrong: each picture is paid for once all the same."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.execution import batch, deliver, engine, submit
from airflow_provider_segmind.execution.manifest import BatchFolder
from airflow_provider_segmind.polling import loop
from tests.operators.batches import dag_of, images_in, rows_of
from tests.task_runner import run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls", "own_notes")


# --- failures ------------------------------------------------------------------------------------------------------


def test_a_few_failures_are_in_the_manifest(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "fail:out of memory", times=2)
    run = run_tasks(dag_of(folder, images(6), max_failures=2))
    assert run.state == "success"
    value = run.xcom("upscale")
    assert (value["stored"], value["failed"], value["errors"]) == (4, 2, {"SegmindRequestFailedError": 2})
    failed = [row for row in rows_of(folder) if row["state"] == "failed"]
    assert [row["error"]["detail"] for row in failed] == ["out of memory"] * 2
    assert all(row["error"]["request_id"] for row in failed)


def test_too_many_failures_fail_the_task_and_a_clear_does_the_rest(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "fail:out of memory", times=3)
    run = run_tasks(dag_of(folder, images(6), max_failures=2))
    assert run.state == "failed"
    assert "3 of 6 items failed, max_failures is 2" in run.log
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


def test_after_a_5xx_it_is_submitted_again_in_the_same_run(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "status:502", times=1)
    segmind_emulator.faults.add("submit", "status:500", times=1)
    run = run_tasks(dag_of(folder, images(6)))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_attempted == 8
    assert segmind_emulator.stats.submits_accepted == 6


def test_one_image_that_breaks_the_model_does_not_stop_the_others(segmind_emulator, images, folder, monkeypatch):
    monkeypatch.setattr(submit, "_PAUSES", (0.0,))
    segmind_emulator.faults.add("submit", "status:500", times=1)
    run = run_tasks(dag_of(folder, images(6), max_failures=1))
    assert run.state == "success"
    assert run.xcom("upscale")["errors"] == {"SegmindServerError": 1}


@pytest.mark.parametrize(("status", "count"), [(500, 20), (503, 20), (503, 1)])
def test_a_gateway_that_breaks_for_all_ends_the_submits(segmind_emulator, images, folder, monkeypatch, status, count):
    monkeypatch.setattr(submit, "_PAUSES", (0.0, 0.0, None))
    segmind_emulator.faults.add("submit", f"status:{status}")
    run = run_tasks(dag_of(folder, images(count), max_failures=20))
    assert run.state == "failed"
    assert segmind_emulator.stats.submits_attempted == 3 * min(count, 4)  # of those that were under way


def test_responses_that_are_all_lost_are_paid_for_once_more_at_most(segmind_emulator, images, folder):
    """Accepted, never answered, and a history that shows nothing: resubmit must not go on for ever."""
    segmind_emulator.reset(history_delay=3600)
    segmind_emulator.faults.add("submit", "drop_after")
    run = run_tasks(dag_of(folder, images(6), on_lost_submit="resubmit", lost_submit_wait=0.1))
    assert run.state == "failed"
    assert segmind_emulator.stats.submits_accepted <= 2 * 6


def test_a_history_that_does_not_response_is_not_a_leave_to_resubmit(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "drop_after", times=1)
    segmind_emulator.faults.add("history", "status:500")
    run = run_tasks(dag_of(folder, images(2), on_lost_submit="resubmit", lost_submit_wait=0.1, max_failures=1))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 2


def test_a_limit_that_does_not_end_is_reported(segmind_emulator, images, folder, monkeypatch):
    monkeypatch.setattr(batch, "_LEAST_TIMEOUT", 0.5)
    segmind_emulator.faults.add("submit", "status:429", headers={"retry-after": "1"})
    run = run_tasks(dag_of(folder, images(2), timeout=0.5))
    assert run.state == "failed"
    assert "rate limit is reached" in run.log


@pytest.mark.parametrize(("status", "error"), [(401, "key"), (402, "credits")])
def test_what_concerns_all_ends_the_submits_and_what_is_open_is_stored(
    segmind_emulator, images, folder, monkeypatch, status, error
):
    monkeypatch.setattr(submit, "AT_ONCE", 2)
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
    segmind_emulator.faults.add("output", "garbage", times=1)
    run = run_tasks(dag_of(folder, images(3), max_failures=0))
    assert run.state == "failed"
    assert segmind_emulator.stats.submits_accepted == 3
    assert [row["error"]["type"] for row in rows_of(folder) if row["state"] == "failed"] == ["SegmindOutputError"]
    again = run.again("upscale")
    assert again.state == "success"
    assert segmind_emulator.stats.submits_accepted == 3


def test_an_output_that_is_refused_is_paid_for_again_only_once_it_is_gone(
    segmind_emulator, images, folder, monkeypatch, quick_retries
):
    """A fresh output may be refused for a while. It is gone once it is refused again, after its record's hour."""
    segmind_emulator.faults.add("output", "status:404")
    run = run_tasks(dag_of(folder, images(1)))
    again = run.again("upscale")
    for failed in (run, again):
        assert failed.state == "failed"
        assert "another try asks for its output again" in failed.log
    [row] = rows_of(folder)
    assert row["refused_at"]
    assert segmind_emulator.stats.submits_accepted == 1
    monkeypatch.setattr(deliver, "_REFUSED_FOR", 0.0)
    assert again.again("upscale").state == "failed"
    assert segmind_emulator.stats.submits_accepted == 1, "its record's hour is not over"
    segmind_emulator.faults.clear()
    monkeypatch.setattr(engine, "RECORD_SURE", 0.0)
    monkeypatch.setattr(deliver, "RECORD_SURE", 0.0)
    segmind_emulator.faults.add("output", "status:404", times=6)
    assert again.again("upscale").state == "success"
    assert segmind_emulator.stats.submits_accepted == 2


def test_a_image_that_takes_too_long_is_polled_again_by_the_next_try(segmind_emulator, images, folder):
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
    monkeypatch.setattr(engine, "RECORD_SURE", -1.0)  # the emulator's clock is ahead, ours is not
    again = run.again("upscale")
    assert again.state == "success"
    assert segmind_emulator.stats.submits_accepted == 1


@pytest.mark.parametrize("fault", ["drop_after", "garbage", "missing_fields"])
def test_a_lost_response_is_found_in_the_history(segmind_emulator, images, folder, fault):
    segmind_emulator.faults.add("submit", fault, times=2)
    run = run_tasks(dag_of(folder, images(5)))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 5


def test_a_lost_response_that_nobody_knows_is_left_to_a_person(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "drop_before", times=1)
    run = run_tasks(dag_of(folder, images(3), max_failures=1))
    assert run.state == "success"
    [lost] = [row for row in rows_of(folder) if row["state"] == "failed"]
    assert lost["error"]["type"] == "SegmindUnknownOutcomeError"
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
    """A try that ends with a response that was not even read: all that is known lies in the request records."""
    monkeypatch.setattr(submit, "AT_ONCE", 3)
    responses, original = [], submit.Submitter._responded

    def interrupted(self, want, response):
        responses.append(response)
        if len(responses) == at:
            raise ConnectionError("the process is gone")
        original(self, want, response)

    monkeypatch.setattr(submit.Submitter, "_responded", interrupted)
    run = run_tasks(dag_of(folder, images(8), retries=1))
    assert run.state == "success"
    assert run.task("upscale").try_number == 2
    assert segmind_emulator.stats.submits_accepted == 8
    assert len(images_in(folder)) == 8


def test_a_try_that_dies_while_storing_fetches_again_and_pays_nothing(segmind_emulator, images, folder, monkeypatch):
    stored, original = [], BatchFolder.write

    def interrupted(self, rows):
        stored.append(rows)
        if len(stored) == 2:
            raise ConnectionError("the process is gone")
        original(self, rows)

    monkeypatch.setattr(BatchFolder, "write", interrupted)
    run = run_tasks(dag_of(folder, images(5), retries=1))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 5


def test_without_a_store_the_event_remembers(segmind_emulator, images, folder):
    run = run_tasks(dag_of(folder, images(4), durable=False, max_in_flight=2))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 4


def test_a_manifest_that_goes_missing_while_it_is_needed(segmind_emulator, images, folder, monkeypatch):
    """What was stored would be paid for again: better to stop, and say so."""
    original = loop.Watch.steps

    def and_someone_cleans_up(self, clock):
        (folder / "upscale.manifest.jsonl").unlink(missing_ok=True)
        return original(self, clock)

    monkeypatch.setattr(loop.Watch, "steps", and_someone_cleans_up)
    run = run_tasks(dag_of(folder, images(2)))
    assert run.state == "failed"
    assert "has gone since the batch began" in run.log
