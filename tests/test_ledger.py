"""The ledger against the emulator: whatever an earlier try left, a picture is paid for once."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_segmind.exceptions import SegmindAnswerLostError, SegmindRequestExpiredError
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.ledger import KEY, RETENTION, Attached, Known, Ledger, Reconnector, Taken, Wanted
from airflow_provider_segmind.ledger.batch import BatchLedger
from airflow_provider_segmind.protocol.events import CompletedEvent
from airflow_provider_segmind.protocol.models import request_body
from airflow_provider_segmind.protocol.resume import fingerprint
from airflow_provider_segmind.protocol.waiting import Watch


class Store(dict[str, Any]):
    """Airflow's task state store as far as the ledger uses it; the real one is used by tests/chaos."""

    retention: Any = None

    def set(self, key, value, *, retention=None):
        self[key], self.retention = value, retention

    def delete(self, key):
        self.pop(key, None)


class Task:
    """One task instance through its tries."""

    def __init__(self, emulator, photos):
        self.store, self.max_tries, self.try_number, self.slept = Store(), 1, 1, []
        self.hook = SegmindHook()
        self.body = request_body("esrgan", {"image": emulator.add_picture(photos / "cat.jpg")})

    @property
    def ledger(self):
        context = {
            "task_state_store": self.store,
            "ti": SimpleNamespace(max_tries=self.max_tries, try_number=self.try_number),
        }
        return Ledger(context)

    @property
    def wanted(self):
        return Wanted("esrgan", self.body, fingerprint("esrgan", self.body, "g"))

    def submit(self):
        ledger = self.ledger
        ledger.intend(self.wanted.fingerprint)
        request_id = self.hook.submit("esrgan", self.body).request_id
        ledger.submitted(request_id)
        return request_id

    def finish(self, request_id):
        now = time.time()
        event = self.hook.watch(Watch(request_id, "esrgan", now, now + 20, poll_interval=0.25))
        assert isinstance(event, CompletedEvent)
        return event.result

    def age(self, seconds):
        entry = self.store[KEY]
        self.store[KEY] = {**entry, **{k: entry[k] - seconds for k in ("intended_at", "submitted_at") if entry[k]}}

    def find(self, on_lost_submit="fail", patience=3.0):
        self.try_number += 1
        reconnector = Reconnector(
            self.hook, self.ledger, on_lost_submit=on_lost_submit, patience=patience, sleep=self.slept.append
        )
        return reconnector.find(self.wanted)


@pytest.fixture
def task(airflow_db, segmind_emulator, photos):
    made = Task(segmind_emulator, photos)
    yield made
    made.hook.close()


def test_nothing_left_nothing_found(task):
    assert task.find() is None


def test_a_running_request_is_attached_to(task, segmind_emulator):
    segmind_emulator.reset(latency=100)
    request_id = task.submit()
    assert isinstance(found := task.find(), Attached)
    assert found.request_id == request_id


def test_a_clear_while_it_runs_attaches_too(task):
    request_id = task.submit()
    task.max_tries += 1
    found = task.find()
    assert isinstance(found, Attached)
    assert found.request_id == request_id


def test_failed_work_is_free_so_it_is_submitted_anew(task, segmind_emulator):
    segmind_emulator.faults.add("submit", "fail:CUDA error", times=1)
    task.submit()
    assert task.find() is None


def test_an_expired_request_is_found_in_the_history(task, segmind_emulator):
    request_id = task.submit()
    task.finish(request_id)
    segmind_emulator.advance(3601)
    found = task.find()
    assert isinstance(found, Known)
    assert found.result.request_id == request_id
    assert found.result.output is not None


def test_an_expired_request_with_a_known_result_needs_nobody(task, segmind_emulator):
    request_id = task.submit()
    ledger = task.ledger
    ledger.finished(task.finish(request_id))
    segmind_emulator.advance(3601)
    segmind_emulator.faults.add("history", "status:500")
    found = task.find()
    assert isinstance(found, Known)


def test_an_expired_request_that_nobody_knows_is_submitted_anew(task, segmind_emulator):
    task.submit()
    segmind_emulator.advance(3601)
    segmind_emulator.faults.add("history", "status:404")
    task.age(3601)
    assert task.find() is None


def test_a_young_request_that_seems_unknown_is_not_paid_for_again(task, segmind_emulator):
    task.submit()
    segmind_emulator.faults.add("status", "status:404", times=2)
    assert isinstance(task.find(), Attached), "it was only a moment's confusion"
    segmind_emulator.faults.add("status", "status:404")
    segmind_emulator.faults.add("history", "status:404")
    with pytest.raises(SegmindRequestExpiredError, match="looks again") as caught:
        task.find()
    assert caught.value.retryable


def test_what_was_handed_over_serves_a_retry_and_not_a_clear(task):
    task.submit()
    task.ledger.hand_over({"request_id": "x"})
    assert task.find() == Taken({"request_id": "x"})
    task.max_tries += 1
    assert task.find() is None


def test_without_retries_a_clear_is_no_retry_either(task):
    task.max_tries = 0
    task.submit()
    task.ledger.hand_over({"request_id": "x"})
    assert task.find() == Taken({"request_id": "x"})
    task.max_tries += 1
    assert task.find() is None


@pytest.mark.parametrize(("minutes", "outlived"), [(54.9, False), (55.1, True)])
def test_a_record_lives_for_an_hour_less_a_margin(task, minutes, outlived):
    task.submit()
    task.age(60 * minutes)
    assert task.ledger.outlived() is outlived


def test_other_parameters_leave_the_old_request_behind(task):
    task.submit()
    task.body = {**task.body, "scale": 4}
    assert task.find() is None


def test_a_lost_answer_is_found_in_the_history(task, segmind_emulator):
    task.ledger.intend(task.wanted.fingerprint)
    segmind_emulator.faults.add("submit", "drop_after", times=1)
    with pytest.raises(SegmindAnswerLostError):
        task.hook.submit("esrgan", task.body)
    found = task.find()
    assert isinstance(found, Attached)
    assert found.request_id == segmind_emulator.requests[0].request_id
    assert task.ledger.entry.request_id == found.request_id
    assert segmind_emulator.stats.submits_accepted == 1


def test_a_lost_answer_is_found_behind_a_page_of_newer_rows(task):
    task.ledger.intend(task.wanted.fingerprint)
    lost = task.hook.submit("esrgan", task.body).request_id
    for _ in range(100):
        task.hook.submit("esrgan", {**task.body, "scale": 4})
    found = task.find()
    assert isinstance(found, Attached)
    assert found.request_id == lost


def test_a_picture_is_not_shown_with_what_is_wanted():
    assert "secret" not in repr(Wanted("esrgan", {"image": "secret"}, "f", upload=b"secret"))


def test_a_row_that_cannot_be_read_hides_no_other(task):
    there = [{"key": "a1", "state": "eaten"}, {"key": "a2", "state": "running", "request_id": "r-2"}]
    task.store["segmind_batch_a"] = there
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=2, max_tries=1)
    assert list(BatchLedger({"task_state_store": task.store, "ti": ti}).rows) == ["a2"]


def test_rows_can_appear_late(task, segmind_emulator):
    segmind_emulator.reset(history_delay=5)
    task.body = request_body("esrgan", {"image": "https://x.example/cat.jpg"})
    task.ledger.intend(task.wanted.fingerprint)
    task.hook.submit("esrgan", task.body)
    task.slept = type("Clock", (list,), {"append": lambda self, seconds: segmind_emulator.advance(seconds)})()
    assert isinstance(task.find(patience=30), Attached)


def test_a_lost_submit_that_is_nowhere_fails_for_good_by_default(task):
    task.ledger.intend(task.wanted.fingerprint)
    with pytest.raises(SegmindAnswerLostError, match=r"esrgan at 20.*image=http.*history does not show it") as caught:
        task.find()
    assert not caught.value.retryable
    assert sum(task.slept) == pytest.approx(3.0)
    assert task.find(on_lost_submit="resubmit") is None


def test_a_history_that_does_not_answer_is_no_leave_to_resubmit(task, segmind_emulator):
    task.ledger.intend(task.wanted.fingerprint)
    segmind_emulator.faults.add("history", "status:500")
    with pytest.raises(SegmindAnswerLostError):
        task.find(on_lost_submit="resubmit")


def test_an_unreachable_history_finds_nothing(task, segmind_emulator):
    segmind_emulator.faults.add("history", "status:500")
    task.ledger.intend(task.wanted.fingerprint)
    with pytest.raises(SegmindAnswerLostError):
        task.find(patience=0)


def test_without_a_store_a_retry_looks_into_the_history(task, segmind_emulator):
    task.store = None
    assert task.find() is None
    task.hook.submit("esrgan", task.body)
    assert isinstance(task.find(patience=0), Attached | Known)
    task.try_number = 0
    assert task.find(patience=0) is None, "a first try has nothing to look for"


def test_an_entry_that_cannot_be_read_is_not_taken_for_none(task, segmind_emulator):
    task.hook.submit("esrgan", task.body)
    task.store[KEY] = {"version": 99}
    assert isinstance(task.find(patience=0), Attached | Known)


def test_entries_are_kept_a_little_over_the_hour(task):
    task.submit()
    assert task.store.retention == RETENTION
    assert 3600 < RETENTION.total_seconds() < 2 * 3600


def test_not_durable_remembers_nothing(task):
    context = {"task_state_store": task.store, "ti": SimpleNamespace(max_tries=1, try_number=1)}
    ledger = Ledger(context, durable=False)
    ledger.intend("f")
    ledger.submitted("r")
    assert task.store == {}


def test_not_durable_looks_for_nothing(task, segmind_emulator):
    task.submit()
    context = {"task_state_store": task.store, "ti": SimpleNamespace(max_tries=1, try_number=3)}
    reconnector = Reconnector(task.hook, Ledger(context, durable=False), on_lost_submit="fail", patience=3)
    assert reconnector.find(task.wanted) is None
    assert segmind_emulator.stats.history_reads == 0


def test_without_a_store_what_was_pushed_tells_of_an_earlier_process(task):
    """Airflow 3.2 ran a retry as the first try, with the XComs of the real one there."""
    request_id = task.submit()
    pushed = SimpleNamespace(xcom_keys_to_clear=["request_id"])
    ledger = Ledger({"ti": SimpleNamespace(max_tries=1, try_number=1, _ti_context_from_server=pushed)})
    found = Reconnector(task.hook, ledger, on_lost_submit="fail", patience=0).find(task.wanted)
    assert isinstance(found, Attached)
    assert found.request_id == request_id


def test_an_upload_without_an_address_matches_nobodys_request(task):
    task.hook.submit("esrgan", task.body)
    task.store = None
    task.try_number = 2
    body = {name: value for name, value in task.body.items() if name != "image"}
    reconnector = Reconnector(task.hook, task.ledger, on_lost_submit="fail", patience=0)
    assert reconnector.find(Wanted("esrgan", body, "f", upload=b"another picture")) is None


def test_without_a_store_an_upload_is_known_by_the_picture_that_was_uploaded(task, segmind_emulator, photos):
    """Only the vendor remembers the address, and the history names it."""
    cat, dog = ((photos / name).read_bytes() for name in ("cat.jpg", "astronaut.png"))
    for picture in (dog, cat, dog):
        task.body = {**task.body, "image": task.hook.upload([picture])[0]}
        task.submit()
    wanted_row = segmind_emulator.requests[1]
    task.store, task.try_number = None, 2
    body = {name: value for name, value in task.body.items() if name != "image"}
    reconnector = Reconnector(task.hook, task.ledger, on_lost_submit="fail", patience=0)
    found = reconnector.find(Wanted("esrgan", body, "f", upload=cat))
    assert isinstance(found, Attached)  # its record is asked, which says more than the row
    assert found.request_id == wanted_row.request_id


@pytest.mark.parametrize("silent", ["history", "asset"])
def test_without_a_store_nothing_is_submitted_while_the_history_is_silent(task, segmind_emulator, photos, silent):
    """A retry that cannot find out what an earlier try submitted must not pay again."""
    cat = (photos / "cat.jpg").read_bytes()
    task.body = {**task.body, "image": task.hook.upload([cat])[0]}
    task.finish(task.submit())  # the emulator reads the picture, too
    segmind_emulator.faults.add(silent, "status:500")
    task.store, task.try_number = None, 2
    body = {name: value for name, value in task.body.items() if name != "image"}
    reconnector = Reconnector(task.hook, task.ledger, on_lost_submit="resubmit", patience=0)
    with pytest.raises(SegmindAnswerLostError, match="cannot be found out") as caught:
        reconnector.find(Wanted("esrgan", body, "f", upload=cat))
    assert caught.value.retryable


def test_the_key_is_not_in_the_entry(task, segmind_emulator):
    task.submit()
    assert segmind_emulator.api_key not in str(task.store)


def test_how_the_input_went_is_in_the_entry_and_a_signature_is_not(task, segmind_emulator, caplog):
    signed = f"{task.body['image']}?X-Amz-Signature=5ec4e7"
    wanted = Wanted("esrgan", {**task.body, "image": signed}, "f", signed=True)
    task.ledger.intend(wanted.fingerprint, transport="presign")
    assert task.store[KEY]["transport"] == "presign"
    reconnector = Reconnector(task.hook, task.ledger, on_lost_submit="fail", patience=0)
    with pytest.raises(SegmindAnswerLostError) as caught:
        reconnector.find(wanted)
    assert task.body["image"] in str(caught.value)
    # The next try signs anew, and still finds the request of this one.
    task.hook.submit("esrgan", wanted.body)
    anew = Wanted("esrgan", {**task.body, "image": signed.replace("5ec4e7", "0th3r")}, "f", signed=True)
    assert isinstance(reconnector.find(anew), Attached)
    assert "5ec4e7" not in f"{task.store}{caught.value}{caplog.text}{wanted!r}"
