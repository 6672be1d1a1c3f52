"""The emulator's clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """
    A clock that can be moved forward.

    :param source: returns seconds since the epoch.
    :param skew: seconds by which this clock is ahead of ``source``.
    """

    def __init__(self, source: Callable[[], float] = time.time, skew: float = 0.0) -> None:
        self._source = source
        self._skew = skew
        self._moved = 0.0

    def now(self) -> float:
        """Return seconds since the epoch."""
        return self._source() + self._skew + self._moved

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        if not 0 <= seconds < float("inf"):
            raise ValueError(
                f"the clock only moves forward: advance must be finite and 0 or more seconds (got {seconds})"
            )
        self._moved += seconds

    def outside(self, moment: float) -> float:
        """Return a moment as a client's clock reaches it: without the advance, with the skew."""
        return moment - self._moved
