"""A task waits for a rate limit in the triggerer: it holds no worker, uses no retry, and few submits are refused."""

from __future__ import annotations

import pytest

from tests.chaos.many import run_many
from tests.chaos.rig import PARALLELISM

TASKS, LIMIT = 90, 30


@pytest.mark.chaos
def test_many_tasks_share_a_rate_limit(rig, measure):
    rig.emulator("reset", "POST", latency=1.5, rate_limit=LIMIT)
    try:
        crowd = run_many(rig, "limit", TASKS, seconds=540)
    finally:
        rig.emulator("reset", "POST")
    attempted, accepted = (crowd.stats[f"submits_{what}"] for what in ("attempted", "accepted"))
    measure(
        "rate limit",
        [
            {
                "tasks": TASKS,
                "limit per minute": LIMIT,
                "succeeded": crowd.states["success"],
                "submits attempted": attempted,
                "submits accepted": accepted,
                "attempted per accepted": f"{attempted / accepted:.2f}",
                "Airflow retries": sum((tries - 1) * number for tries, number in crowd.tries.items()),
                "maximum that waited for the limit at once": crowd.deferred["SegmindRateLimitTrigger"],
                "worker seconds per task": f"{crowd.worker_seconds / TASKS:.1f}",
                "seconds": round(crowd.seconds),
            }
        ],
    )
    assert crowd.states == {"success": TASKS}
    assert crowd.tries == {1: TASKS}
    assert crowd.submits == {1: TASKS}
    assert not crowd.broken
    assert attempted / accepted <= 1.3
    # If each wait held a worker, no more than PARALLELISM tasks could wait for the limit at once.
    assert crowd.deferred["SegmindRateLimitTrigger"] > PARALLELISM
    assert crowd.worker_seconds / TASKS < 10
