"""A clock for deadlines."""

from __future__ import annotations

import time
from collections.abc import Callable


def steady_clock() -> Callable[[], float]:
    """
    Return a clock (epoch seconds) that keeps its pace when this machine's clock is set.

    A wait that uses one clock from start to end keeps its deadline.
    """
    started, epoch = time.monotonic(), time.time()
    return lambda: epoch + time.monotonic() - started
