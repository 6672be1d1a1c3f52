"""Submits: one POST an intent, what each response means for the money, and where a process may die."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.exceptions import (
    SegmindAuthError,
    SegmindConnectionError,
    SegmindError,
    SegmindGatewayError,
    SegmindInsufficientCreditsError,
    SegmindInvalidRequestError,
    SegmindRateLimitedError,
    SegmindServerError,
    SegmindTimeoutError,
    SegmindUnknownOutcomeError,
)
from airflow_provider_segmind.execution import marks
from airflow_provider_segmind.execution.record import State
from airflow_provider_segmind.execution.single import Delivered, Submitted
from airflow_provider_segmind.execution.store import STORE_KEY
from airflow_provider_segmind.execution.submit import opens_at
from airflow_provider_segmind.polling.limit_file import read_limit
from tests.execution.tasks import KilledError, wants_of

SERVER_ERRORS = (500, 502, 503, 504, 520, 524)


# --- after a 5xx (row 14) -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [*SERVER_ERRORS, 408])
def test_an_accepted_submit_with_an_error_response_is_billed_once(task, status):
    task.emulator.faults.add("submit", f"status_after:{status}")
    found = task.start()
    assert found.request_id == task.emulator.requests[0].request_id
    assert task.accepted == 1


@pytest.mark.parametrize("status", SERVER_ERRORS)
def test_a_submit_that_was_not_accepted_is_repeated_once_the_history_was_asked(task, status):
    task.emulator.faults.add("submit", f"status:{status}", times=1)
    found = task.start()
    assert found.request_id == task.emulator.requests[0].request_id
    posts = [name for name in task.port.calls if name in ("submit", "history_page")]
    assert (posts[0], posts[-1]) == ("submit", "submit")
    assert "history_page" in posts[1:-1]
    assert task.accepted == 1


def test_a_failing_gateway_ends_the_try_after_three_submits(task):
    task.emulator.faults.add("submit", "status:503")
    with pytest.raises(SegmindGatewayError) as caught:
        task.start()
    assert caught.value.retryable
    assert task.port.calls.count("submit") == 3
    assert {2.0, 8.0} <= set(task.clock.slept)
    assert (task.left["state"], task.left["doubt"]) == ("intended", "error"), "the next try asks the history first"
    task.emulator.faults.clear()
    assert isinstance(task.start(), Submitted)
    assert task.port.calls.index("history_page") < task.port.calls.index("submit")


def test_an_error_and_a_history_that_does_not_respond_are_an_unknown_outcome(task):
    """It is not submitted again: the next try searches first."""
    task.emulator.faults.add("submit", "status_after:504")
    task.emulator.faults.add("history", "status:500")
    with pytest.raises(SegmindError, match="did not respond") as caught:
        task.start()
    assert caught.value.retryable
    assert task.left["doubt"] == "error"
    task.emulator.faults.clear()
    assert task.start().request_id == task.emulator.requests[0].request_id
    assert task.accepted == 1


def test_a_request_that_may_be_ours_keeps_from_submitting_again_after_an_error(task):
    """It is in the list, and not found by its id: a teammate's, or ours and late."""
    task.emulator.faults.add("submit", "status_after:504")
    task.instead = {"history_row": lambda request_id: None}
    with pytest.raises(SegmindUnknownOutcomeError) as caught:
        task.start()
    assert caught.value.retryable
    task.instead = {}
    assert task.start().request_id == task.emulator.requests[0].request_id
    assert task.accepted == 1


def test_a_process_that_died_after_a_5xx_asks_the_history_in_its_next_try(task):
    task.emulator.faults.add("submit", "status_after:504", times=1)
    task.die("history_page")
    assert (task.left["state"], task.left["doubt"]) == ("intended", "error")
    assert task.start().request_id == task.emulator.requests[0].request_id
    assert task.accepted == 1


# --- what surely was not accepted -----------------------------------------------------------------------------------


def test_a_rate_limit_ends_the_submits_and_is_shared_with_other_tasks(task):
    task.emulator.faults.add("submit", "status:429", headers={"Retry-After": "20"})
    with pytest.raises(SegmindRateLimitedError):
        task.start()
    assert task.left["state"] == "waiting"
    assert task.port.calls.count("submit") == 1
    assert read_limit(task.hook.settings.gateway, task.hook.segmind_conn_id) > task.clock.now() + 10
    task.emulator.faults.clear()
    with pytest.raises(SegmindRateLimitedError, match="another task on this machine"):
        task.start()
    assert "submit" not in task.port.calls
    assert task.clock.slept == []


def test_a_rate_limit_without_a_reset_time_lasts_half_a_minute():
    assert opens_at(SegmindRateLimitedError("x"), 100.0) == 130.0
    assert opens_at(SegmindRateLimitedError("x", retry_after=7.0), 100.0) == 107.0


def test_a_gateway_that_cannot_be_reached_costs_no_intent(task):
    def unreachable():
        raise SegmindConnectionError("refused")

    task.instead = {"open": unreachable}
    with pytest.raises(SegmindConnectionError):
        task.start()
    assert task.left is None


def test_a_refused_connection_is_tried_again_in_the_same_run(task):
    responses = [SegmindConnectionError("refused"), SegmindConnectionError("refused"), "r-1"]
    task.instead = {"submit": lambda bodies, *, may_leave, responded: responded(0, responses.pop(0))}
    assert task.start().request_id == "r-1"
    assert task.clock.slept == [2.0, 8.0]


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, SegmindInvalidRequestError), (401, SegmindAuthError), (406, SegmindError), (404, SegmindError)],
)
def test_a_refusal_is_not_repeated(task, status, error):
    task.emulator.faults.add("submit", f"status:{status}")
    with pytest.raises(error) as caught:
        task.start()
    assert not caught.value.retryable
    assert task.port.calls.count("submit") == 1
    assert task.left["state"] == "waiting"


def test_the_balance_is_asked_before_the_intent(task):
    task.least = 1e9
    with pytest.raises(SegmindInsufficientCreditsError):
        task.start()
    assert task.left is None


def test_a_post_that_would_leave_too_late_is_not_sent(task):
    """The moment after which a row shows absence counts from the intent: the POST leaves within seconds of it."""

    def late(bodies, **kwargs):
        task.emulator.advance(5.1)
        task.port._real.submit(bodies, **kwargs)

    task.instead = {"submit": late}
    with pytest.raises(SegmindConnectionError, match="not sent within 5 s"):
        task.start()
    assert task.accepted == 0


def test_a_submit_whose_mark_another_try_has_taken_is_not_sent(task):
    """The process that Airflow considered dead goes on, and finds that it must not send any more, now or later."""

    def overtaken(bodies, **kwargs):
        assert marks.take(task.left["mark"])
        task.port._real.submit(bodies, **kwargs)

    task.instead = {"submit": overtaken}
    with pytest.raises(SegmindConnectionError, match="taken over the request"):
        task.start()
    assert task.accepted == 0
    assert task.port.calls.count("submit") == 1


def test_nothing_is_submitted_after_the_deadline(task):
    with pytest.raises(SegmindTimeoutError):
        task.run().start(deadline=task.clock.now() - 1)
    assert task.accepted == 0


def test_what_is_stored_already_is_returned_without_a_submit(task):
    run = task.run()
    run._before_submit = lambda: {"skipped": True}
    assert run.start(deadline=task.clock.now() + 9) == Delivered({"skipped": True})
    assert task.accepted == 0


# --- an upload (row 11) ---------------------------------------------------------------------------------------------


@pytest.fixture
def uploads(task, photos):
    """A task whose image goes through Segmind's upload."""
    task.identity = {**task.body, "image_sha256": "hash"}
    task.body = {name: value for name, value in task.body.items() if name != "image"}
    task.upload = (photos / "cat.jpg").read_bytes()
    return task


def test_an_uploaded_input_is_not_uploaded_again(uploads):
    uploads.emulator.faults.add("submit", "status:400", times=1)
    with pytest.raises(SegmindInvalidRequestError):
        uploads.start()
    address = uploads.left["uploaded"]
    uploads.submit()
    assert uploads.emulator.stats.uploads == 1
    assert uploads.emulator.requests[0].parameters["image"] == address


def test_an_uploaded_input_that_segmind_has_deleted_is_uploaded_again(uploads):
    """Its request fails, which is free; an address that is kept for ever would fail for ever."""
    uploads.emulator.faults.add("submit", "fail:image not found", times=1)
    first = uploads.submit()
    uploads.emulator.state.wait_for_pixels()
    uploads.emulator.advance(3590)
    assert uploads.submit() != first
    assert uploads.emulator.stats.uploads == 2


# --- several wants: a batch is many of the same ---------------------------------------------------------------------


def submit_all(task, number, **more):
    engine = task.engine(batch=True)
    wants = wants_of([{**task.body, "scale": 2 + 2 * (index % 2), "quality": 50 + index} for index in range(number)])
    engine.load_records(wants)
    engine.prepare(wants)
    engine.submit(wants)
    return engine, wants


def test_each_response_is_written_as_it_arrives(task):
    _, wants = submit_all(task, 6)
    assert {want.record.state for want in wants} == {State.SUBMITTED}
    kept = [record for key, value in task.store.items() if key.startswith(STORE_KEY) for record in value]
    assert {record["request_id"] for record in kept} == {one.request_id for one in task.emulator.requests}


@pytest.mark.parametrize("at", range(8))
def test_a_process_that_dies_in_the_middle_of_a_wave_pays_for_nothing_twice(task, at):
    written, keep = [], task.store.set

    def killed(key, value, *, retention=None):
        if len(written) == at:
            raise KilledError
        written.append(key)
        keep(key, value, retention=retention)

    task.store.set = killed
    with pytest.raises(KilledError):
        submit_all(task, 6)
    del task.store.set
    task.emulator.advance(60)
    task.hook.submit("esrgan", {**task.body, "quality": 99})  # later, by somebody else: shows absence
    _, wants = submit_all(task, 6)
    assert {want.record.state for want in wants} == {State.SUBMITTED}
    assert len({want.record.request_id for want in wants}) == 6
    assert task.accepted == 7


def test_an_error_of_one_want_does_not_concern_the_others(task):
    task.emulator.faults.add("submit", "status:400", times=1)
    engine, wants = submit_all(task, 6)
    assert sorted(str(want.record.state) for want in wants) == ["submitted"] * 5 + ["waiting"]
    assert [type(want.error) for want in wants if want.error] == [SegmindInvalidRequestError]
    assert engine.stopped is None


def test_an_error_that_concerns_all_wants_ends_the_submits(task):
    task.emulator.faults.add("submit", "status:401")
    engine, wants = submit_all(task, 6)
    assert isinstance(engine.stopped, SegmindAuthError)
    assert {want.error for want in wants} == {None}
    assert task.port.calls.count("submit") == 1


def test_a_500_of_one_want_is_given_up_after_three_submits(task):
    """It often is a parameter's fault: the others go on."""
    task.emulator.faults.add("submit", "status:500", times=3, model="esrgan")
    engine, wants = submit_all(task, 1)
    assert isinstance(wants[0].error, SegmindServerError)
    assert engine.stopped is None
    _, wants = submit_all(task, 3)
    assert {want.record.state for want in wants} == {State.SUBMITTED}
