"""The engine against the emulator: whatever an earlier try left, an image is paid for once."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.exceptions import (
    SegmindEventError,
    SegmindRequestFailedError,
    SegmindTimeoutError,
    SegmindUnknownOutcomeError,
)
from airflow_provider_segmind.execution.record import State
from airflow_provider_segmind.execution.single import Delivered, Prepared, Submitted
from airflow_provider_segmind.execution.store import STORE_KEY
from airflow_provider_segmind.protocol.events import event_for
from tests.execution.tasks import DAY, GATEWAY, KilledError, Shelf, Task


@pytest.fixture
def delivered(task):
    """What the first try of the task returned: it has not succeeded yet."""
    found = task.resume(task.completed(task.submit()))
    assert isinstance(found, Delivered)
    return found.value


# --- a running request ----------------------------------------------------------------------------------------------


def test_without_a_record_the_first_try_submits(task):
    found = task.start()
    assert isinstance(found, Submitted)
    assert task.left["request_id"] == found.request_id == task.emulator.requests[0].request_id
    assert task.emulator.stats.history_reads == 0


def test_a_running_request_is_attached_to(task):
    request_id = task.submit()
    assert task.start() == Submitted(request_id, task.left["submitted_at"])
    assert task.accepted == 1
    assert task.emulator.stats.history_reads == 0


def test_the_result_is_delivered_from_the_event(task, delivered):
    assert (delivered["request_id"], delivered["status"]) == (task.emulator.requests[0].request_id, "COMPLETED")
    assert task.left["state"] == "delivered"


def test_an_event_that_comes_twice_delivers_the_same(task, delivered):
    event = task.completed(delivered["request_id"])
    assert task.resume(event).value == delivered
    assert task.accepted == 1


def test_an_event_of_another_request_is_refused(task):
    event = task.completed(task.submit()).model_copy(update={"request_id": "other"})
    with pytest.raises(SegmindEventError, match="about request other"):
        task.resume(event)
    assert task.left["state"] == "submitted"


def test_without_a_store_the_event_is_enough(task):
    task.store = None
    event = task.completed(task.submit())
    assert task.resume(event).value["request_id"] == event.request_id


def test_after_a_timeout_the_next_try_reattaches(task):
    request_id = task.submit()
    late = event_for(SegmindTimeoutError("late", request_id=request_id), request_id=request_id)
    with pytest.raises(SegmindTimeoutError):
        task.resume(late)
    assert task.submit() == request_id


def test_failed_work_is_free_so_the_next_try_submits_again(task):
    task.emulator.faults.add("submit", "fail:CUDA error", times=1)
    first = task.submit()
    failed = event_for(SegmindRequestFailedError("CUDA error", request_id=first), request_id=first)
    with pytest.raises(SegmindRequestFailedError, match="CUDA"):
        task.resume(failed)
    assert task.submit() != first


def test_other_parameters_abandon_the_old_request(task, caplog):
    first = task.submit()
    task.body = {**task.body, "scale": 4}
    second = task.submit()
    assert second != first
    assert first in caplog.text
    assert {one["request_id"] for one in task.store[STORE_KEY]} == {first, second}
    task.body = {**task.body, "scale": 2}
    assert task.submit() == first, "the DAG was changed back"


def test_a_task_that_returns_the_request_id_reattaches_too(task):
    first = task.start(waits=False)
    assert task.start(waits=False) == first
    assert task.accepted == 1


# --- delivered, closed, a new want (row 1) --------------------------------------------------------------------------


def test_a_task_that_failed_after_it_returned_returns_the_same_again(task, delivered):
    """A retry, or a clear after the failure: `post_execute` or the XCom push failed, it is unknown which."""
    for _ in range(3):
        assert task.start().value == delivered
    assert task.accepted == 1


def test_a_clear_after_a_real_success_is_a_new_want(task, delivered):
    run = task.run()
    assert run.start(deadline=task.clock.now() + 600).value == delivered
    run.close()
    assert task.left["state"] == "closed"
    assert task.submit() != delivered["request_id"]
    assert task.accepted == 2


def test_the_request_of_an_earlier_want_is_not_taken_for_a_lost_submit(task, delivered):
    run = task.run()
    run.start(deadline=task.clock.now() + 600)
    run.close()
    task.die("submit")
    with pytest.raises(SegmindUnknownOutcomeError):
        task.start()
    assert task.accepted == 1


def test_a_stored_result_is_searched_before_it_is_returned_again(task):
    shelf = Shelf()
    value = task.resume(task.completed(task.submit()), shelf).value
    assert [item["uri"][:6] for item in value["stored"]] == ["mem://"]
    assert task.start(shelf).value == value
    shelf.there = False
    assert task.start(shelf).value == value
    assert len(shelf.stored) == 2, "it was fetched and stored again, not made again"
    assert task.accepted == 1


def test_a_result_of_last_week_is_not_returned_as_a_dead_url(task, delivered):
    """Outputs live for seven days (row 11)."""
    task.emulator.advance(6.9 * DAY)
    assert task.start().value == delivered
    task.emulator.advance(DAY)
    assert task.submit() != delivered["request_id"]


def test_a_request_of_last_week_is_not_delivered_as_a_dead_url(task):
    """The process died after the submit, and nobody cleared the task for a week."""
    first = task.submit()
    task.emulator.state.wait_for_pixels()
    task.emulator.advance(7.5 * DAY)
    found = task.start()
    assert isinstance(found, Submitted)
    assert found.request_id != first


# --- an unknown outcome ---------------------------------------------------------------------------------------------


def test_the_intent_is_written_before_the_post_and_all_that_can_fail_comes_before_the_intent(task):
    """Between intent and POST there is nothing but the POST: connection, balance and upload come before (row 17)."""
    task.upload = b"an image"
    seen = []
    for name in ("open", "upload", "submit"):

        def called(*args, name=name, **kwargs):
            seen.append((name, task.left and task.left["state"]))
            if name == "submit":
                raise KilledError
            return "https://upload.example/a"

        task.instead[name] = called
    with pytest.raises(KilledError):
        task.start()
    assert seen == [("open", None), ("upload", None), ("submit", "intended")]


def test_a_lost_response_is_found_in_the_history(task):
    task.emulator.faults.add("submit", "drop_after", times=1)
    found = task.start()
    assert found.request_id == task.emulator.requests[0].request_id == task.left["request_id"]
    assert task.accepted == 1


@pytest.mark.parametrize("fault", ["drop_after", "garbage", "missing_fields"])
@pytest.mark.parametrize("history", ["status:500", "garbage"])
def test_a_response_that_stays_lost_is_searched_again_by_the_next_try(task, fault, history):
    task.emulator.faults.add("submit", fault, times=1)
    silent = task.emulator.faults.add("history", history)
    with pytest.raises(SegmindUnknownOutcomeError, match="did not respond") as caught:
        task.start()
    assert caught.value.retryable
    assert task.left["state"] == "intended"
    silent.times = 0
    assert task.submit() == task.emulator.requests[0].request_id
    assert task.accepted == 1


def test_a_process_that_died_between_intent_and_post_fails_until_a_later_row_is_listed(task):
    """Nothing was submitted, and an empty history does not show that (row 17)."""
    task.die("submit")
    with pytest.raises(
        SegmindUnknownOutcomeError, match=r"esrgan at 20.*image=http.*history does not show the submit"
    ) as caught:
        task.start()
    assert caught.value.retryable
    assert sum(task.clock.slept) == pytest.approx(3.0)
    task.emulator.advance(30)
    task.hook.submit("esrgan", {**task.body, "scale": 4})  # somebody else's, later
    assert isinstance(task.start(), Submitted)
    assert task.accepted == 2


def test_a_process_that_died_between_intent_and_post_is_known_on_the_same_machine(task):
    """Its mark is still there: nothing was sent, whatever the history shows."""
    task.die("submit", same_machine=True)
    silent = task.emulator.faults.add("history", "status:500")
    assert isinstance(task.start(), Submitted)
    assert silent.fired == 0
    assert task.accepted == 1


def test_a_lost_submit_is_submitted_again_if_the_author_allows_it(task):
    task.die("submit")
    task.on_lost_submit = "resubmit"
    assert isinstance(task.start(), Submitted)
    assert sum(task.clock.slept) == pytest.approx(3.0), "the history was asked before"


def test_a_history_that_does_not_respond_does_not_allow_a_resubmit(task):
    task.die("submit")
    task.on_lost_submit = "resubmit"
    task.emulator.faults.add("history", "status:500")
    with pytest.raises(SegmindUnknownOutcomeError, match="did not respond"):
        task.start()
    assert task.accepted == 0


@pytest.mark.segmind_emulator(history_delay=5)
def test_rows_can_appear_late(task):
    task.lost_submit_wait = 30.0
    task.emulator.faults.add("submit", "drop_after", times=1)
    assert task.submit() == task.emulator.requests[0].request_id
    assert 5 <= sum(task.clock.slept) <= 15


@pytest.mark.parametrize("skew", [-15, -100, 100])
def test_a_clock_of_segmind_that_differs_bills_nothing_twice(airflow_db, segmind_emulator, photos, skew):
    """The ``Date`` header shows the difference, so the row does not count as an older one (row 7)."""
    segmind_emulator.reset(clock_skew=skew)
    task = Task(segmind_emulator, segmind_emulator.add_image(photos / "cat.jpg"))
    task.on_lost_submit = "resubmit"
    segmind_emulator.faults.add("submit", "drop_after", times=1)
    assert task.submit() == segmind_emulator.requests[0].request_id
    task.store.clear()
    assert task.submit() == segmind_emulator.requests[0].request_id
    assert task.accepted == 1
    task.hook.close()


def test_a_lost_response_is_found_behind_a_page_of_newer_rows(task):
    task.emulator.faults.add("submit", "drop_after", times=1)
    silent = task.emulator.faults.add("history", "status:500")
    with pytest.raises(SegmindUnknownOutcomeError):
        task.start()
    for _ in range(100):
        task.hook.submit("esrgan", {**task.body, "scale": 4})
    silent.times = 0
    assert task.submit() == task.emulator.requests[0].request_id


@pytest.mark.segmind_emulator(extra_models=("writer",))
@pytest.mark.parametrize("sent", [{"prompt": "cat", "seed": 7}, {}, {"prompt": "cat", "image": "https://x/a.png"}])
def test_a_request_with_more_or_fewer_parameters_is_another_one(task, sent):
    """``{"prompt": "cat"}`` got the result of a request with ``seed=7`` (row 3)."""
    task.model, task.body = "writer", {"prompt": "cat"}
    task.die("submit")
    task.hook.submit("writer", sent)
    with pytest.raises(SegmindUnknownOutcomeError):
        task.start()
    request_id = task.hook.submit("writer", {"prompt": "cat"}).request_id
    assert task.submit() == request_id


# --- what is shown and kept -----------------------------------------------------------------------------------------


def test_no_secret_is_in_a_record_or_a_message(task, caplog):
    image = task.body["image"]
    task.body = {**task.body, "image": f"{image}?X-Amz-Signature=5ec4e7"}
    task.die("submit")
    with pytest.raises(SegmindUnknownOutcomeError) as caught:
        task.start()
    assert image in str(caught.value)
    # The next try signs again, and still finds the request of this one.
    request_id = task.hook.submit("esrgan", task.body).request_id
    task.body = {**task.body, "image": f"{image}?X-Amz-Signature=0th3r"}
    assert task.submit() == request_id
    found = f"{task.store}{caught.value}{caplog.text}{task.want()!r}"
    assert "5ec4e7" not in found
    assert task.emulator.api_key not in found
    assert "secret" not in repr(Prepared({"image": "secret"}, {}, upload=b"secret").want("esrgan", GATEWAY))


def test_a_want_is_known_by_its_record_alone(task):
    assert task.want().record.state is State.WAITING
    assert task.want().record.key == Prepared(task.body, task.body).fingerprint("esrgan", GATEWAY)[:20]
