"""SegmindBatchTrigger: many waits, and one event when a worker can continue."""

from __future__ import annotations

import asyncio
import inspect
import json
import time

import pytest

from airflow_provider_segmind.execution.waves import read_batch_event
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.triggers.batch import SegmindBatchTrigger

MEMORY = {"started_at": 5.0, "reused": 2, "items": "abc", "moved_at": 6.0, "halted": None}
DISTINCT = {
    "waited": [{"key": "a", "request_id": "r-1", "submitted_at": 3e9}],
    "segmind_conn_id": "c",
    "model": "esrgan",
    "timeout": 7.0,
    "need": 1,
    "resume_at": 3e9,
    "not_before": 2.5,
    "poll_interval": 1.5,
    "expected_duration": 11.5,
    "inline": True,
    "memory": MEMORY,
}


def test_serialize_has_every_argument_of_the_constructor():
    path, kwargs = SegmindBatchTrigger(**DISTINCT).serialize()
    assert path == "airflow_provider_segmind.triggers.batch.SegmindBatchTrigger"
    assert set(kwargs) == set(inspect.signature(SegmindBatchTrigger.__init__).parameters) - {"self", "unknown"}
    assert kwargs == DISTINCT
    assert SegmindBatchTrigger(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)


@pytest.fixture
def wait(airflow_db, segmind_emulator):
    """Submit ``count`` requests, let the trigger wait for them, and return its event and the seconds until then."""

    def run(count, *, need=None, resume_in=0.0, **values):
        with SegmindHook() as hook:
            ids = [hook.submit("echo-model", {"prompt": "x"}).request_id for _ in range(count)]
        now = time.time()
        trigger = SegmindBatchTrigger(
            **{
                "waited": [{"key": f"k{i}", "request_id": name, "submitted_at": now} for i, name in enumerate(ids)],
                "segmind_conn_id": "segmind_default",
                "model": "echo-model",
                "timeout": 30.0,
                "need": count if need is None else need,
                "resume_at": now + resume_in,
                "poll_interval": 0.25,
                "memory": MEMORY,
                **values,
            }
        )

        async def collect():
            return [event.payload async for event in trigger.run()]

        [payload] = asyncio.run(collect())
        return read_batch_event(json.loads(json.dumps(payload))), time.time() - now

    return run


def ended(event):
    return [waited.key for waited in event.waited if waited.event]


def test_the_event_when_all_requests_have_ended(wait):
    event, _ = wait(30)
    assert len(ended(event)) == 30
    assert event.memory.model_dump() == MEMORY
    assert event.error is None


def test_it_fires_once_enough_have_ended(wait, segmind_emulator):
    segmind_emulator.faults.add("submit", "stuck", times=3)
    event, seconds = wait(5, need=2)
    assert ended(event) == ["k3", "k4"]
    assert len(event.waited) == 5
    assert seconds < 30


def test_it_does_not_fire_before_the_next_wave_may_start(wait):
    event, seconds = wait(2, need=0, resume_in=1.5)
    assert len(ended(event)) == 2  # requests that end meanwhile are in the event
    assert seconds >= 1.5


def test_without_open_requests_it_is_a_timer(wait):
    event, seconds = wait(0, resume_in=0.5)
    assert event.waited == []
    assert seconds >= 0.5


def test_each_request_has_its_own_event(wait, segmind_emulator):
    segmind_emulator.faults.add("submit", "fail:out of memory", times=1)
    segmind_emulator.faults.add("submit", "stuck", times=1)
    event, _ = wait(3, timeout=1.5)
    assert [waited.event.kind for waited in event.waited] == ["failed", "timeout", "fetch"]


def test_a_missing_connection_is_an_event(wait):
    event, _ = wait(1, segmind_conn_id="nowhere")
    assert event.error["type"] == "SegmindConfigError"
    assert ended(event) == []
