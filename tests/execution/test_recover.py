"""Requests that Segmind has forgotten, and outputs that it refuses: what is paid for is fetched while it can be."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.exceptions import (
    SegmindDownloadError,
    SegmindError,
    SegmindRequestExpiredError,
    SegmindRequestFailedError,
    SegmindServerError,
    SegmindStorageError,
)
from airflow_provider_segmind.execution.record import State
from airflow_provider_segmind.execution.recover import recall_result, recalled
from airflow_provider_segmind.execution.single import Delivered, Submitted
from airflow_provider_segmind.protocol.events import FetchEvent
from airflow_provider_segmind.protocol.lifetimes import RECORD_SURE
from airflow_provider_segmind.protocol.wire import HistoryRow, Result
from tests.execution.tasks import DAY, HOUR, Shelf, wants_of

LONG = HOUR + 1


@pytest.fixture
def old(task):
    """The id of a request whose record Segmind has dropped; it is completed."""
    request_id = task.submit()
    task.emulator.state.wait_for_pixels()
    task.emulator.advance(LONG)
    return request_id


def again(task, path, request_id):
    """Take the request up in a next try, or in the resumed task after its trigger met the 404."""
    return task.start() if path == "next try" else task.resume(task.expired(request_id))


PATHS = pytest.mark.parametrize("path", ["next try", "event"])


# --- a record that Segmind has dropped (row 2) ------------------------------------------------------------------------


@PATHS
def test_an_expired_request_is_found_in_the_history(task, old, path):
    found = again(task, path, old)
    assert isinstance(found, Delivered)
    assert found.value["request_id"] == old
    assert found.value["output"].startswith(task.emulator.url)
    assert task.accepted == 1


@PATHS
def test_an_expired_request_whose_row_is_still_pending_is_asked_for_again(task, old, path):
    task.emulator.settings.history_pending = True
    with pytest.raises(SegmindRequestExpiredError, match="it is not finished") as caught:
        again(task, path, old)
    assert caught.value.retryable
    assert task.left["request_id"] == old
    task.emulator.settings.history_pending = False
    assert task.start().value["request_id"] == old
    assert task.accepted == 1


@PATHS
def test_a_request_that_stays_pending_in_the_history_depends_on_on_lost_submit(task, old, path):
    task.emulator.settings.history_pending = True
    task.on_lost_submit = "resubmit"
    with pytest.raises(SegmindRequestExpiredError, match="One day after its submit, on_lost_submit decides"):
        again(task, path, old)
    task.emulator.advance(DAY)
    task.on_lost_submit = "fail"
    with pytest.raises(SegmindRequestExpiredError, match="more than a day") as caught:
        again(task, path, old)
    assert not caught.value.retryable
    assert 'on_lost_submit="resubmit"' in str(caught.value)
    task.on_lost_submit = "resubmit"
    assert task.submit() != old


@pytest.mark.parametrize("on_lost_submit", ["fail", "resubmit"])
@pytest.mark.parametrize("status", [500, 429, 401])
def test_a_request_is_not_expired_while_the_history_does_not_respond(task, old, status, on_lost_submit):
    """In the next try the wait goes on, and meets the 404: the error is the same, and retryable."""
    task.on_lost_submit = on_lost_submit
    task.emulator.faults.add("history", f"status:{status}", headers={"Retry-After": "0"})
    assert task.start() == Submitted(old, task.left["submitted_at"])
    with pytest.raises(SegmindError) as caught:
        task.resume(task.expired(old))
    assert not isinstance(caught.value, SegmindRequestExpiredError)
    task.emulator.faults.clear()
    assert task.start().value["request_id"] == old
    assert task.accepted == 1


@PATHS
def test_an_expired_request_that_is_unknown_is_submitted_again_only_if_the_author_allows_it(task, old, path):
    task.emulator.faults.add("history", "status:404")
    with pytest.raises(SegmindRequestExpiredError, match="does not have its output") as caught:
        again(task, path, old)
    assert not caught.value.retryable
    assert 'on_lost_submit="resubmit"' in str(caught.value)
    task.on_lost_submit = "resubmit"
    found = task.start()
    assert isinstance(found, Submitted)
    assert found.request_id != old


@PATHS
def test_a_recent_request_that_is_unknown_is_not_paid_for_again(task, path):
    """An id is not known everywhere at once."""
    task.on_lost_submit = "resubmit"
    first = task.submit()
    task.emulator.faults.add("status", "status:404")
    task.emulator.faults.add("history", "status:404")
    if path == "next try":
        assert task.submit() == first
        return
    with pytest.raises(SegmindRequestExpiredError, match="asks again") as caught:
        again(task, path, first)
    assert caught.value.retryable
    assert task.left["request_id"] == first


@PATHS
def test_an_expired_request_that_failed_was_free(task, path):
    task.emulator.faults.add("submit", "fail:CUDA error", times=1)
    first = task.submit()
    task.emulator.state.wait_for_pixels()
    task.emulator.advance(LONG)
    if path == "event":
        with pytest.raises(SegmindError) as caught:
            task.resume(task.expired(first))
        assert caught.value.retryable
    assert task.submit() != first


@pytest.mark.parametrize(("minutes", "asked"), [(54.9, False), (55.1, True)])
def test_a_record_lives_for_an_hour_less_a_margin(task, minutes, asked):
    task.submit()
    task.emulator.advance(60 * minutes)
    assert RECORD_SURE == 55 * 60
    task.start()
    assert ("status" in task.port.calls) is asked


def test_a_clock_that_was_set_back_makes_no_request_old(task):
    first = task.submit()
    task.store["segmind_requests"][0]["submitted_at"] += 2 * HOUR
    assert task.submit() == first
    assert "status" not in task.port.calls


def test_a_result_that_is_known_needs_nobody(task):
    """Its storage was broken: neither its record nor the history is asked for it."""
    shelf = Shelf(lambda: SegmindStorageError("full"))
    event = task.completed(task.submit())
    with pytest.raises(SegmindStorageError):
        task.resume(event, shelf)
    task.emulator.advance(LONG)
    task.emulator.faults.add("history", "status:500")
    shelf.error = None
    assert task.start(shelf).value["request_id"] == event.request_id
    assert task.accepted == 1


def test_an_inline_output_is_fetched_with_its_record(task):
    request_id = task.submit()
    task.emulator.state.wait_for_pixels()
    shelf = Shelf()
    assert task.resume(FetchEvent(request_id=request_id), shelf).value["stored"]
    assert shelf.stored == [request_id]


# --- outputs that are refused (rows 5 and 11) -------------------------------------------------------------------------


def refused(status=404):
    return Shelf(lambda: SegmindDownloadError("not there", status=status, retryable=False))


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_one_refusal_of_a_fresh_output_is_retryable(task, status):
    event = task.completed(task.submit())
    with pytest.raises(SegmindDownloadError, match="asks for its output again") as caught:
        task.resume(event, refused(status))
    assert caught.value.retryable
    assert task.start(Shelf()).value["request_id"] == event.request_id
    assert task.accepted == 1


@pytest.mark.parametrize("pauses", [[910, 910], [LONG], [LONG, 890]])
def test_an_output_is_not_missing_before_it_was_refused_for_a_while_and_its_record_has_expired(task, pauses):
    event = task.completed(task.submit())
    if pauses[0] == LONG:
        task.emulator.advance(pauses.pop(0))
    for pause in [0, *pauses]:
        task.emulator.advance(pause)
        with pytest.raises(SegmindDownloadError) as caught:
            task.start(refused()) if task.left["state"] != "submitted" else task.resume(event, refused())
        assert caught.value.retryable
    assert task.start(Shelf()).value["request_id"] == event.request_id
    assert task.accepted == 1


def test_an_output_that_stays_refused_is_not_a_dead_end(task):
    """It is asked for again in another try; then it counts as missing and is submitted again."""
    event = task.completed(task.submit())
    task.emulator.advance(LONG)
    with pytest.raises(SegmindDownloadError):
        task.resume(event, refused())
    task.emulator.advance(910)
    found = task.start(refused())
    assert isinstance(found, Submitted)
    assert found.request_id != event.request_id


def test_a_refused_output_is_searched_again_before_it_is_fetched(task):
    """Its URL may be another one by now."""
    event = task.completed(task.submit())
    with pytest.raises(SegmindDownloadError):
        task.resume(event, refused())
    task.start(Shelf())
    assert "result" in task.port.calls


@pytest.mark.parametrize("at", range(3))
def test_a_batch_does_not_bill_an_output_again_that_was_refused_once(task, at):
    """One 404 on a fresh output, then a clear (row 5)."""
    engine = task.engine(batch=True)
    wants = wants_of([{**task.body, "quality": 50 + index} for index in range(3)])
    engine.load_records(wants)
    engine.submit(wants)
    for want in wants:
        engine.ended(want, task.completed(want.record.request_id))

    class OneRefused(Shelf):
        def store(self, results, stored):
            def spoiled(number, outcome):
                stored(number, SegmindDownloadError("not there", status=404) if number == at else outcome)

            super().store(results, spoiled)

    engine.deliver(wants, OneRefused())
    [wrong] = [want for want in wants if want.error]
    wrong.record.failed(wrong.error.to_dict(), at=task.clock.now())
    wrong.record.run_again()
    wrong.error = None
    shelf = Shelf()
    task.engine(batch=True).deliver(wants, shelf)
    assert shelf.stored == [wrong.record.request_id]
    assert {want.record.state for want in wants} == {State.DELIVERED}
    assert task.accepted == 3


def test_outputs_are_stored_in_groups_and_written_down_in_between(task):
    engine = task.engine(batch=True)
    wants = wants_of([{**task.body, "quality": 10 + index} for index in range(20)])
    for number, want in enumerate(wants):
        want.record.submitted(f"r{number}", at=task.clock.now())
        want.record.completed(Result(request_id=f"r{number}", model="esrgan", output="https://x.example/a.png"))
    shelf = Shelf()
    engine.deliver(wants, shelf, by="d r t")
    assert shelf.groups == [16, 4]
    assert {want.record.stored_by for want in wants} == {"d r t"}


# --- for those that have not submitted it: sensor and transfer --------------------------------------------------------


class OneRow:
    def __init__(self, **fields):
        self.row = HistoryRow(request_id="r", **fields) if fields else None

    def history_row(self, request_id):
        assert request_id == "r"
        return self.row


EXPIRED = SegmindRequestExpiredError("unknown", request_id="r")


def test_the_output_of_an_expired_request_is_recalled():
    found = recalled(OneRow(status="COMPLETED", output="https://x.example/a.png", cost=0.5), EXPIRED, model="esrgan")
    assert (found.output, found.metrics.cost, found.model) == ("https://x.example/a.png", 0.5, "esrgan")


@pytest.mark.parametrize(
    ("fields", "error", "retryable"),
    [
        ({}, SegmindRequestExpiredError, False),
        ({"status": "COMPLETED"}, SegmindRequestExpiredError, False),
        ({"status": "PENDING"}, SegmindRequestExpiredError, True),
        ({"status": "SOMETHING"}, SegmindRequestExpiredError, True),
        ({"status": "FAILED", "error": "CUDA"}, SegmindRequestFailedError, False),
    ],
)
def test_what_cannot_be_recalled_ends_in_the_same_error_everywhere(fields, error, retryable):
    with pytest.raises(error) as caught:
        recalled(OneRow(**fields), EXPIRED, model="esrgan")
    assert caught.value.retryable is retryable


def test_a_history_that_does_not_respond_raises_its_own_error():
    class Silent:
        def history_row(self, request_id):
            raise SegmindServerError("in trouble")

    with pytest.raises(SegmindServerError):
        recall_result(Silent(), EXPIRED, model="esrgan")


def test_nothing_is_recalled_after_a_week(task, old):
    task.emulator.advance(8 * DAY)
    assert isinstance(task.start(), Submitted)
