"""When a deferred task may be resumed, and when Airflow ends its deferral."""

from __future__ import annotations

import time
from datetime import timedelta

from airflow.providers.common.compat.sdk import conf

#: Seconds between our own deadline and Airflow's timeout of a deferral.
_MARGIN = 120.0


def not_before() -> float:
    """
    Return the first moment (epoch seconds) at which a task that defers now may be resumed.

    Airflow notices up to ``[workers] min_heartbeat_interval`` seconds late that a task has deferred, and takes a task
    that runs again by then for killed (apache/airflow#71580, open in 3.3).
    """
    return time.time() + float(conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0)) + 1.0


def deferral_timeout(deadline: float) -> timedelta:
    """Return Airflow's timeout of a deferral: after our deadline (epoch seconds), which is the one that is reported."""
    return timedelta(seconds=max(0.0, deadline - time.time()) + _MARGIN)
