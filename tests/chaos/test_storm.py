"""Many faults: every third poll of a request fails, and only the log shows it."""

from __future__ import annotations

import pytest

from tests.chaos.many import run_many

TASKS = 200
_FAULTS = ("500@0.06", "502@0.06", "504@0.06", "429;Retry-After=1@0.06", "garbage@0.05", "drop_before@0.05")
FAULTS = ",".join(f"{route}:{fault}" for route in ("status", "result") for fault in _FAULTS)


@pytest.mark.chaos
def test_a_storm_of_faults_costs_no_retry_and_no_second_submit(rig, measure):
    rig.emulator("reset", "POST", latency="uniform:2:5", faults=FAULTS, seed=7)
    try:
        crowd = run_many(rig, "storm", TASKS, seconds=540)
    finally:
        rig.emulator("reset", "POST")
    polls = crowd.stats["polls"] + crowd.stats["results"]
    measure(
        "storm",
        [
            {
                "tasks": TASKS,
                "succeeded": crowd.states["success"],
                "submits accepted": crowd.stats["submits_accepted"],
                "Airflow retries": sum((tries - 1) * number for tries, number in crowd.tries.items()),
                "polls": polls,
                "polls with a fault": f"{crowd.stats['faults_fired'] / polls:.0%}",
                "seconds": round(crowd.seconds),
            }
        ],
    )
    assert crowd.states == {"success": TASKS}
    assert crowd.submits == {1: TASKS}
    assert crowd.stats["submits_accepted"] == TASKS
    assert crowd.tries == {1: TASKS}
    assert not crowd.broken
    assert crowd.stats["faults_fired"] > 0.2 * polls
