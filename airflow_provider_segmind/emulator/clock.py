"""The emulator's clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """
    Time that can be moved forward. Seconds since the epoch, like the ``source`` it is read from.

    :param skew: seconds by which it is ahead of the ``source``.
    """

    def __init__(self, source: Callable[[], float] = time.time, skew: float = 0.0) -> None:
        self._source = source
        self._skew = skew
        self._moved = 0.0

    def now(self) -> float:
        return self._source() + self._skew + self._moved

    def advance(self, seconds: float) -> None:
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"the clock only moves forward, not by {seconds}")
        self._moved += seconds

    def outside(self, moment: float) -> float:
        """A moment on this clock, without what it was moved: what a client can wait for. The skew stays in it."""
        return moment - self._moved
