"""A batch as data: what a next run does with each picture, how large a wave is, and what is handed on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindEventError
from airflow_provider_segmind.protocol.batch import (
    BatchEvent,
    Limits,
    Memory,
    Row,
    State,
    Waited,
    key_of,
    read_batch_event,
    read_manifest,
    shown,
    summary,
    write_manifest,
)
from airflow_provider_segmind.protocol.events import CompletedEvent, FailedEvent
from airflow_provider_segmind.protocol.wire import Metrics, Result

NOW = 1_800_000_000.0
HOUR = 3600.0


def row(state=State.WAITING, **values):
    return Row(key="k", state=state, **values)


def failed(kind, *, retryable=False, age=60.0, status=None, **values):
    error = {"type": kind, "retryable": retryable, "status": status}
    return row(State.FAILED, error=error, submitted_at=NOW - age, **values)


@pytest.mark.parametrize(
    ("left", "state"),
    [
        (row(), State.WAITING),
        (row(State.STORED), State.STORED),
        (row(State.RUNNING, request_id="r"), State.RUNNING),
        (row(State.INTENDED), State.INTENDED),
        (failed("SegmindRequestFailedError", request_id="r"), State.WAITING),  # free
        (failed("SegmindContentBlockedError", request_id="r"), State.WAITING),
        (failed("SegmindInvalidRequestError"), State.WAITING),  # not accepted
        (failed("SegmindTimeoutError", request_id="r", retryable=True), State.RUNNING),  # it still runs
        (failed("SegmindTimeoutError", request_id="r", age=2 * HOUR), State.RUNNING),  # the history is asked
        (
            failed("SegmindStorageError", request_id="r", result={"a": 1}, age=2 * HOUR),
            State.RUNNING,
        ),  # outputs live on
        (failed("SegmindOutputError", request_id="r", result={"a": 1}), State.RUNNING),
        (failed("SegmindDownloadError", request_id="r", result={"a": 1}, retryable=True), State.RUNNING),
        (failed("SegmindDownloadError", request_id="r", result={"a": 1}), State.RUNNING),  # a proxy may say 403
        (failed("SegmindDownloadError", request_id="r", result={"a": 1}, status=404), State.WAITING),  # it is gone
        (failed("SegmindRequestExpiredError", request_id="r", result={"a": 1}), State.WAITING),  # base64 without record
        (failed("SegmindAnswerLostError"), State.INTENDED),  # it may be billed: never blindly again
    ],
)
def test_what_a_run_does_with_what_another_left(left, state):
    left.run_again()
    assert left.state is state
    assert left.error is None
    if state is State.WAITING:
        assert (left.request_id, left.submitted_at, left.result) == (None, None, None)


def rows(waiting=0, running=0, recent=(), stored=0):
    found = [Row(key=f"w{i}") for i in range(waiting)]
    found += [Row(key=f"r{i}", state=State.RUNNING, request_id="x", submitted_at=NOW - 300) for i in range(running)]
    found += [Row(key=f"s{i}", state=State.STORED, submitted_at=NOW - age) for i, age in enumerate(recent)]
    return found + [Row(key=f"d{i}", state=State.STORED, submitted_at=NOW - HOUR) for i in range(stored)]


def test_a_wave_keeps_to_both_limits():
    assert Limits(None, 100).wave(rows(waiting=500), NOW) == 100
    assert Limits(None, 100).wave(rows(waiting=500, running=80), NOW) == 20
    assert Limits(50, 100).wave(rows(waiting=500), NOW) == 50
    assert Limits(50, 100).wave(rows(waiting=500, recent=[10] * 30), NOW) == 20
    assert Limits(50, 100).wave(rows(waiting=500, recent=[61] * 50), NOW) == 50
    assert Limits(50, 100).wave(rows(waiting=3, running=300), NOW) == 0


def test_the_next_wave_is_worth_a_worker():
    assert Limits(None, 100).next_wave(rows(waiting=500, running=100), NOW) == (NOW, 50)
    assert Limits(None, 100).next_wave(rows(waiting=20, running=100), NOW) == (NOW, 20)
    assert Limits(None, 100).next_wave(rows(waiting=500, running=10), NOW) == (NOW, 0)
    assert Limits(None, 1).next_wave(rows(waiting=5, running=1), NOW) == (NOW, 1)
    assert Limits(50, 100).next_wave(rows(waiting=500, recent=[20] * 50), NOW) == (NOW + 40, 0)
    assert Limits(5, 100).next_wave(rows(waiting=500, running=97, recent=[0] * 5), NOW) == (NOW + 60, 2)


def test_with_nothing_left_to_submit_all_have_to_end():
    assert Limits(5, 100).next_wave(rows(running=42, recent=[0] * 5), NOW) == (NOW, 42)


@given(
    st.integers(0, 50), st.integers(0, 50), st.lists(st.floats(0, 100), max_size=30), st.none() | st.integers(1, 60),
    st.integers(1, 60),
)  # fmt: skip
def test_no_limit_is_ever_passed(waiting, running, recent, per_minute, in_flight):
    found, limits = rows(waiting, running, recent), Limits(per_minute, in_flight)
    wave = limits.wave(found, NOW)
    assert 0 <= wave <= waiting
    assert wave == 0 or wave + running <= in_flight
    if per_minute is not None:
        assert wave + sum(age < 60 for age in recent) <= max(per_minute, sum(age < 60 for age in recent))
    resume_at, need = limits.next_wave(found, NOW)
    assert NOW <= resume_at <= NOW + 60
    assert 0 <= need <= running
    if waiting and need == running:  # once all have ended by then, something can be submitted
        later = [one for one in found if one.state is not State.RUNNING]
        assert limits.wave(later, resume_at + 0.001) > 0


def test_a_manifest_survives_writing_and_reading():
    there = [Row(key="a", index=0, item={"image": "x"}), failed("SegmindTimeoutError", request_id="r")]
    there[1].key = "b"
    text = write_manifest(there)
    assert text.count("\n") == 2
    assert list(read_manifest(text, where="m").values()) == there


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b"])
def test_a_line_separator_inside_a_text_does_not_cut_a_row(separator):
    there = Row(key="a", item={"prompt": f"one{separator}two"})
    assert read_manifest(write_manifest([there]), where="m") == {"a": there}


def test_what_signs_a_url_is_left_out_wherever_it_stands():
    found = shown(
        {"urls": ["https://x.example/a?X-Amz-Signature=abc"], "more": {"deep": ["https://x.example/?sig=abc"]}}
    )
    signature = "***"
    assert found == {
        "urls": [f"https://x.example/a?X-Amz-Signature={signature}"],
        "more": {"deep": [f"https://x.example/?sig={signature}"]},
    }


def test_a_submit_that_was_lost_or_refused_counts_as_one():
    refused = row(intended_at=NOW - 5)
    refused.reset()
    assert Limits(1, 10).wave([refused, row()], NOW) == 0


def test_unknown_keys_of_a_row_are_ignored():
    found = read_manifest(json.dumps({"key": "a", "state": "stored", "mood": "good"}) + "\n", where="m")
    assert found["a"].state is State.STORED


@pytest.mark.parametrize("line", ["nonsense", "{}", '{"key": "a", "state": "eaten"}', "[]"])
def test_a_line_that_cannot_be_read_is_named(line):
    with pytest.raises(SegmindConfigError, match="manifest m, line 2"):
        read_manifest('{"key": "a"}\n' + line + "\n", where="m")


def test_a_picture_as_text_is_cut_in_a_manifest():
    found = shown({"image": "data:image/png;base64," + "A" * 100_000, "scale": 2})
    assert len(found["image"]) < 400
    assert "100022 chars" in found["image"]
    assert found["scale"] == 2


def test_a_signed_url_is_no_secret_in_a_manifest():
    found = shown({"image": "https://x.example/a.png?X-Amz-Signature=abcdef&part=1"})
    assert found["image"] == "https://x.example/a.png?X-Amz-Signature=***&part=1"


def test_a_key_depends_on_all_that_makes_a_request():
    keys = {key_of(m, {"image": i}, g) for m in ("a", "b") for i in ("x", "y") for g in ("http://1", "http://2")}
    assert len(keys) == 8


def test_events_come_back_as_they_were():
    result = Result(request_id="r-1", model="esrgan", output="https://x.example/a.png", metrics=Metrics(cost=0.1))
    event = BatchEvent(
        waited=[
            Waited(key="a", request_id="r-1", submitted_at=1.0, event=CompletedEvent(request_id="r-1", result=result)),
            Waited(
                key="b", request_id="r-2", submitted_at=2.0, event=FailedEvent(request_id="r-2", error={"type": "x"})
            ),
            Waited(key="c", request_id="r-3", submitted_at=3.0),
        ],
        memory=Memory(started_at=1.0, reused=3, halted={"type": "SegmindAuthError"}),
    )
    wire = json.loads(json.dumps(event.model_dump(mode="json", exclude_none=True)))
    assert read_batch_event(wire) == event


@pytest.mark.parametrize("payload", [None, "success", {}, {"kind": "completed"}, {"kind": "batch", "version": 2}])
def test_any_other_event_fails(payload):
    with pytest.raises(SegmindEventError):
        read_batch_event(payload)


def test_a_summary_counts_this_runs_money_only():
    def stored(at, cost, left):
        metrics = {"cost": cost, "remaining_credits": left}
        return Row(key="k", state=State.STORED, finished_at=at, result={"metrics": metrics})

    found = summary([stored(10, 1.0, 99), stored(30, 0.5, 97.5), stored(20, 0.1, 98), row()], since=15, reused=1)
    assert found == {
        "total": 4,
        "stored": 3,
        "reused": 1,
        "failed": 1,
        "errors": {},
        "metrics": {"cost": 0.6, "remaining_credits": 97.5},
    }
