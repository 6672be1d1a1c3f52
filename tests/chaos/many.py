"""Many mapped tasks at once: their states, submits, and the time for which they held a worker."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.chaos.outcomes import image
from tests.chaos.rig import Rig

DAG_ID = "chaos_many"


@dataclass(frozen=True)
class Crowd:
    """
    The outcome of a run of many tasks.

    :param states: number of mapped task instances in each state.
    :param tries: number of task instances by number of tries.
    :param submits: number of images by number of submits.
    :param broken: objects that are not whole.
    :param worker_seconds: total time for which tasks were running, polled every second.
    :param deferred: maximum number of tasks that waited in the triggerer at once, by class of trigger.
    :param seconds: duration of the run.
    :param stats: the emulator's counters.
    """

    states: Counter[str]
    tries: Counter[int]
    submits: Counter[int]
    broken: list[str]
    worker_seconds: float
    deferred: Counter[str]
    seconds: float
    stats: dict[str, Any]


def run_many(rig: Rig, run_id: str, count: int, *, seconds: float) -> Crowd:
    """Run ``count`` mapped tasks, and return their outcome."""
    start = time.monotonic()
    rig.api.trigger_dag(DAG_ID, run_id, {"count": count})
    worker_seconds, deferred = _watch(rig, run_id, start + seconds)
    took = time.monotonic() - start
    rig.finish(DAG_ID, run_id, seconds=1)
    mapped = [ti for ti in rig.api.instances(DAG_ID, run_id) if ti["map_index"] >= 0]
    submits = rig.submits()
    objects = {number: image(rig.out / run_id / f"{number}.jpg") for number in range(count)}
    return Crowd(
        states=Counter(ti["state"] for ti in mapped),
        tries=Counter(ti["try_number"] for ti in mapped),
        submits=Counter(submits[f"{run_id}-{number}.jpg"] for number in range(count)),
        broken=[f"{number}: {what}" for number, what in objects.items() if what != "whole"],
        worker_seconds=worker_seconds,
        deferred=deferred,
        seconds=took,
        stats=rig.stats(),
    )


def _watch(rig: Rig, run_id: str, deadline: float) -> tuple[float, Counter[str]]:
    """Poll every second until the run ends; return worker seconds and the maximum of deferred tasks."""
    worker_seconds, deferred, last = 0.0, Counter[str](), time.monotonic()
    while not rig.api.has_ended(DAG_ID, run_id):
        rig.check_running()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{run_id}: {_states(rig, run_id)}\n{rig.tail('scheduler.log', 15)}")
        running, waiting = rig.api.count(DAG_ID, run_id, "running"), rig.api.deferred_to(DAG_ID, run_id)
        now = time.monotonic()
        worker_seconds += running * (now - last)
        deferred, last = deferred | waiting, now
        time.sleep(1)
    return worker_seconds, deferred


def _states(rig: Rig, run_id: str) -> Counter[str]:
    return Counter(ti["state"] for ti in rig.api.instances(DAG_ID, run_id))
