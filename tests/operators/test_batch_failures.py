"""Failures and interruptions of a batch: each image is still billed once."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.execution import batch, deliver, engine, submit
from airflow_provider_segmind.execution.manifest import BatchFolder
from airflow_provider_segmind.polling import loop
from tests.operators.batch_dag import batch_dag, images_in, manifest_rows
from tests.task_runner import run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls", "own_rate_limit_files")


# --- failures --------------------------------------------------------------------------------------------------------


def test_failed_items_are_recorded_in_the_manifest(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "fail:out of memory", times=2)
    run = run_tasks(batch_dag(folder, images(6), max_failures=2))
    assert run.state == "success"
    value = run.xcom("upscale")
    assert (value["stored"], value["failed"], value["errors"]) == (4, 2, {"SegmindRequestFailedError": 2})
    failed = [row for row in manifest_rows(folder) if row["state"] == "failed"]
    assert [row["error"]["detail"] for row in failed] == ["out of memory"] * 2
    assert all(row["error"]["request_id"] for row in failed)


def test_too_many_failures_fail_the_task_and_a_clear_submits_the_failed_items(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "fail:out of memory", times=3)
    run = run_tasks(batch_dag(folder, images(6), max_failures=2))
    assert run.state == "failed"
    assert "3 of 6 items failed, max_failures is 2" in run.log
    assert "out of memory" in run.log
    again = run.again("upscale")
    assert again.state == "success"
    assert again.xcom("upscale")["reused"] == 3
    assert segmind_emulator.stats.submits_accepted == 9  # the three that failed were not billed


def test_an_error_of_one_item_fails_only_this_item(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "status:400", times=1, body={"error": "image is too small"})
    run = run_tasks(batch_dag(folder, images(4), max_failures=1))
    assert run.state == "success"
    assert [row["error"]["type"] for row in manifest_rows(folder) if row["state"] == "failed"] == [
        "SegmindInvalidRequestError"
    ]


def test_an_item_is_submitted_again_after_a_5xx_in_the_same_run(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "status:502", times=1)
    segmind_emulator.faults.add("submit", "status:500", times=1)
    run = run_tasks(batch_dag(folder, images(6)))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_attempted == 8
    assert segmind_emulator.stats.submits_accepted == 6


def test_an_image_that_breaks_the_model_does_not_stop_the_others(segmind_emulator, images, folder, monkeypatch):
    monkeypatch.setattr(submit, "_PAUSES", (0.0,))
    segmind_emulator.faults.add("submit", "status:500", times=1)
    run = run_tasks(batch_dag(folder, images(6), max_failures=1))
    assert run.state == "success"
    assert run.xcom("upscale")["errors"] == {"SegmindServerError": 1}


@pytest.mark.parametrize(("status", "count"), [(500, 20), (503, 20), (503, 1)])
def test_errors_for_all_items_end_the_submits(segmind_emulator, images, folder, monkeypatch, status, count):
    monkeypatch.setattr(submit, "_PAUSES", (0.0, 0.0, None))
    segmind_emulator.faults.add("submit", f"status:{status}")
    run = run_tasks(batch_dag(folder, images(count), max_failures=20))
    assert run.state == "failed"
    assert segmind_emulator.stats.submits_attempted == 3 * min(count, 4)  # those in progress


def test_lost_responses_are_submitted_again_once_at_most(segmind_emulator, images, folder):
    """Segmind accepts each submit, the response is lost and the history shows nothing: resubmitting must end."""
    segmind_emulator.reset(history_delay=3600)
    segmind_emulator.faults.add("submit", "drop_after")
    run = run_tasks(batch_dag(folder, images(6), on_lost_submit="resubmit", lost_submit_wait=0.1))
    assert run.state == "failed"
    assert segmind_emulator.stats.submits_accepted <= 2 * 6


def test_nothing_is_submitted_again_while_the_history_returns_errors(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "drop_after", times=1)
    segmind_emulator.faults.add("history", "status:500")
    run = run_tasks(batch_dag(folder, images(2), on_lost_submit="resubmit", lost_submit_wait=0.1, max_failures=1))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 2


def test_a_rate_limit_that_lasts_beyond_the_timeout_fails_the_task(segmind_emulator, images, folder, monkeypatch):
    monkeypatch.setattr(batch, "_LEAST_TIMEOUT", 0.5)
    segmind_emulator.faults.add("submit", "status:429", headers={"retry-after": "1"})
    run = run_tasks(batch_dag(folder, images(2), timeout=0.5))
    assert run.state == "failed"
    assert "rate limit is reached" in run.log


@pytest.mark.parametrize(("status", "error"), [(401, "key"), (402, "credits")])
def test_an_invalid_key_or_missing_credits_end_the_submits(
    segmind_emulator, images, folder, monkeypatch, status, error
):
    monkeypatch.setattr(submit, "AT_ONCE", 2)
    segmind_emulator.reset(latency=0.3)
    items = images(8)
    run = run_tasks(batch_dag(folder, items, max_in_flight=2, max_failures=8))
    assert run.state == "success"
    other = folder.parent / "other"
    segmind_emulator.faults.add("submit", f"status:{status}", body={"error": error})
    items = images(10)
    run = run_tasks(batch_dag(other, items, retries=0, max_failures=8))
    assert run.state == "failed"
    assert error in run.log
    attempted = segmind_emulator.stats.submits_attempted
    assert attempted <= 8 + 2
    assert {row["state"] for row in manifest_rows(other)} == {"waiting"}


def test_an_output_that_cannot_be_stored_is_not_billed_again(segmind_emulator, images, folder):
    segmind_emulator.faults.add("output", "garbage", times=1)
    run = run_tasks(batch_dag(folder, images(3), max_failures=0))
    assert run.state == "failed"
    assert segmind_emulator.stats.submits_accepted == 3
    assert [row["error"]["type"] for row in manifest_rows(folder) if row["state"] == "failed"] == ["SegmindOutputError"]
    again = run.again("upscale")
    assert again.state == "success"
    assert segmind_emulator.stats.submits_accepted == 3


def test_a_refused_output_is_billed_again_only_after_it_expired(
    segmind_emulator, images, folder, monkeypatch, quick_retries
):
    """A new output may be refused for a while. It is expired if it is refused again after the hour of its record."""
    segmind_emulator.faults.add("output", "status:404")
    run = run_tasks(batch_dag(folder, images(1)))
    again = run.again("upscale")
    for failed in (run, again):
        assert failed.state == "failed"
        assert "another try asks for its output again" in failed.log
    [row] = manifest_rows(folder)
    assert row["refused_at"]
    assert segmind_emulator.stats.submits_accepted == 1
    monkeypatch.setattr(deliver, "_REFUSED_FOR", 0.0)
    assert again.again("upscale").state == "failed"
    assert segmind_emulator.stats.submits_accepted == 1, "the hour of its record is not over"
    segmind_emulator.faults.clear()
    monkeypatch.setattr(engine, "RECORD_SURE", 0.0)
    monkeypatch.setattr(deliver, "RECORD_SURE", 0.0)
    segmind_emulator.faults.add("output", "status:404", times=6)
    assert again.again("upscale").state == "success"
    assert segmind_emulator.stats.submits_accepted == 2


def test_a_request_that_times_out_is_polled_again_by_the_next_try(segmind_emulator, images, folder):
    segmind_emulator.reset(latency=4.0)
    run = run_tasks(batch_dag(folder, images(2), timeout=1.0))
    assert run.state == "failed"
    assert {row["error"]["type"] for row in manifest_rows(folder)} == {"SegmindTimeoutError"}
    segmind_emulator.advance(10)
    again = run.again("upscale")
    assert again.state == "success"
    assert segmind_emulator.stats.submits_accepted == 2


def test_an_expired_request_is_recovered_from_the_history(segmind_emulator, images, folder, monkeypatch):
    segmind_emulator.reset(latency=2.0)
    run = run_tasks(batch_dag(folder, images(1), timeout=0.5))
    assert run.state == "failed"
    segmind_emulator.advance(2 * 3600)
    monkeypatch.setattr(engine, "RECORD_SURE", -1.0)  # the emulator's clock is ahead, ours is not
    again = run.again("upscale")
    assert again.state == "success"
    assert segmind_emulator.stats.submits_accepted == 1


@pytest.mark.parametrize("fault", ["drop_after", "garbage", "missing_fields"])
def test_a_lost_response_is_found_in_the_history(segmind_emulator, images, folder, fault):
    segmind_emulator.faults.add("submit", fault, times=2)
    run = run_tasks(batch_dag(folder, images(5)))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 5


def test_an_unknown_outcome_fails_the_item_until_a_user_allows_a_resubmit(segmind_emulator, images, folder):
    segmind_emulator.faults.add("submit", "drop_before", times=1)
    run = run_tasks(batch_dag(folder, images(3), max_failures=1))
    assert run.state == "success"
    [lost] = [row for row in manifest_rows(folder) if row["state"] == "failed"]
    assert lost["error"]["type"] == "SegmindUnknownOutcomeError"
    assert segmind_emulator.stats.submits_accepted == 2
    assert run.again("upscale").xcom("upscale")["failed"] == 1  # the history is searched again
    assert segmind_emulator.stats.submits_accepted == 2
    resubmitting = run_tasks(
        batch_dag(folder, [row["item"]["image"] for row in manifest_rows(folder)], on_lost_submit="resubmit")
    )
    assert resubmitting.state == "success"
    assert segmind_emulator.stats.submits_accepted == 3


# --- interruptions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 4, 7])
def test_a_retry_continues_where_the_last_try_was_interrupted(segmind_emulator, images, folder, monkeypatch, at):
    """The try ends before it reads a response: the retry has only the request records."""
    monkeypatch.setattr(submit, "AT_ONCE", 3)
    responses, original = [], submit.Submitter._responded

    def interrupted(self, want, response):
        responses.append(response)
        if len(responses) == at:
            raise ConnectionError("the process was killed")
        original(self, want, response)

    monkeypatch.setattr(submit.Submitter, "_responded", interrupted)
    run = run_tasks(batch_dag(folder, images(8), retries=1))
    assert run.state == "success"
    assert run.task("upscale").try_number == 2
    assert segmind_emulator.stats.submits_accepted == 8
    assert len(images_in(folder)) == 8


def test_a_try_that_ends_while_storing_is_not_billed_again(segmind_emulator, images, folder, monkeypatch):
    stored, original = [], BatchFolder.write

    def interrupted(self, rows):
        stored.append(rows)
        if len(stored) == 2:
            raise ConnectionError("the process was killed")
        original(self, rows)

    monkeypatch.setattr(BatchFolder, "write", interrupted)
    run = run_tasks(batch_dag(folder, images(5), retries=1))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 5


def test_without_a_task_state_store_the_event_keeps_the_requests(segmind_emulator, images, folder):
    run = run_tasks(batch_dag(folder, images(4), durable=False, max_in_flight=2))
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 4


def test_a_manifest_that_is_deleted_during_the_batch_fails_the_task(segmind_emulator, images, folder, monkeypatch):
    """Without the manifest, stored images would be billed again."""
    original = loop.Watch.steps

    def delete_the_manifest(self, clock):
        (folder / "upscale.manifest.jsonl").unlink(missing_ok=True)
        return original(self, clock)

    monkeypatch.setattr(loop.Watch, "steps", delete_the_manifest)
    run = run_tasks(batch_dag(folder, images(2)))
    assert run.state == "failed"
    assert "was removed while the batch was running" in run.log
