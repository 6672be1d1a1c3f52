"""A batch as data: how large a wave is, when the next one starts, and the result."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segmind.exceptions import SegmindEventError
from airflow_provider_segmind.execution.record import RequestRecord, State
from airflow_provider_segmind.execution.waves import (
    BatchEvent,
    Limits,
    Memory,
    Waited,
    digest_of,
    read_batch_event,
    shown,
    summary,
)
from airflow_provider_segmind.protocol.events import CompletedEvent, FailedEvent
from airflow_provider_segmind.protocol.wire import Metrics, Result

NOW = 1_800_000_000.0
HOUR = 3600.0


def rows(waiting=0, running=0, recent=(), stored=0, completed=0):
    found = [RequestRecord(key=f"w{i}") for i in range(waiting)]
    for state, number in ((State.SUBMITTED, running), (State.COMPLETED, completed)):
        found += [RequestRecord(key=f"{state}{i}", state=state, submitted_at=NOW - 300) for i in range(number)]
    found += [RequestRecord(key=f"s{i}", state=State.DELIVERED, submitted_at=NOW - age) for i, age in enumerate(recent)]
    return found + [RequestRecord(key=f"d{i}", state=State.DELIVERED, submitted_at=NOW - HOUR) for i in range(stored)]


def test_a_wave_keeps_to_both_limits():
    assert Limits(None, 100).wave(rows(waiting=500), NOW) == 100
    assert Limits(None, 100).wave(rows(waiting=500, running=80), NOW) == 20
    assert Limits(None, 100).wave(rows(waiting=500, running=70, completed=10), NOW) == 20
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
def test_no_limit_is_exceeded(waiting, running, recent, per_minute, in_flight):
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
        later = [one for one in found if one.state is not State.SUBMITTED]
        assert limits.wave(later, resume_at + 0.001) > 0


def test_a_submit_that_was_lost_or_refused_counts_as_one():
    refused = RequestRecord(key="k")
    refused.intend(at=NOW - 5, skew=None)
    refused.withdraw()
    assert Limits(1, 10).wave([refused, RequestRecord(key="l")], NOW) == 0


# --- what a manifest shows of an item -------------------------------------------------------------------------------


def test_signatures_of_urls_are_masked_at_any_depth():
    found = shown(
        {"urls": ["https://x.example/a?X-Amz-Signature=abc"], "more": {"deep": ["https://x.example/?sig=abc"]}}
    )
    signature = "***"
    assert found == {
        "urls": [f"https://x.example/a?X-Amz-Signature={signature}"],
        "more": {"deep": [f"https://x.example/?sig={signature}"]},
    }


def test_an_image_as_text_is_cut():
    found = shown({"image": "data:image/png;base64," + "A" * 100_000, "scale": 2})
    assert len(found["image"]) < 400
    assert "100022 chars" in found["image"]
    assert found["scale"] == 2


def test_a_signed_url_is_not_a_secret():
    found = shown({"image": "https://x.example/a.png?X-Amz-Signature=abcdef&part=1"})
    assert found["image"] == "https://x.example/a.png?X-Amz-Signature=***&part=1"


# --- what travels between trigger and task --------------------------------------------------------------------------


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


def test_wants_are_the_same_in_any_order():
    assert digest_of(["a", "b"]) == digest_of(["b", "a"]) != digest_of(["a", "c"])


# --- the result of the task -----------------------------------------------------------------------------------------


def test_a_summary_counts_this_runs_money_only():
    def stored(at, cost, left):
        metrics = {"cost": cost, "remaining_credits": left}
        return RequestRecord(key="k", state=State.DELIVERED, finished_at=at, result={"metrics": metrics})

    gave_up = RequestRecord(key="f", state=State.FAILED, finished_at=31, error={"type": "SegmindTimeoutError"})
    made = [stored(10, 1.0, 99), stored(30, 0.5, 97.5), stored(20, 0.1, 98), RequestRecord(key="w"), gave_up]
    assert summary(made, since=15, reused=1) == {
        "total": 5,
        "stored": 3,
        "reused": 1,
        "failed": 2,
        "errors": {"SegmindTimeoutError": 1},
        "metrics": {"cost": 0.6, "remaining_credits": 97.5},
    }


def test_a_summary_is_small_whatever_the_errors():
    gave_up = [RequestRecord(key=f"{n}", state=State.FAILED, error={"type": f"Error{n}" * 8}) for n in range(500)]
    assert len(json.dumps(summary(gave_up, since=0, reused=0))) < 4000
