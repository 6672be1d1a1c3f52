"""
The rate limit of one connection in one event loop: closed until the reset, then one submit per interval.

Submits that met the limit wait here. If all of them were sent at the reset, most would be refused again.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from airflow_provider_segmind.jitter import spread

#: Seconds of a window: Segmind's limits are per minute.
WINDOW = 60.0
#: Seconds between two submits after a reset, before a refusal has shown another limit: Segmind's Pro plan allows 50
#: requests a minute (source: the vendor's documentation).
_SUBMIT_INTERVAL = WINDOW / 48
#: Maximum seconds between two submits: the Free plan allows 5 requests a minute (same source).
_MAX_SUBMIT_INTERVAL = WINDOW / 4.5
#: Minimum number of submits before the interval is adjusted.
_MINIMUM_SAMPLES = 4
#: Seconds; a larger step against the monotonic clock means that this machine's clock was set.
_CLOCK_SET = 5.0


@dataclass
class RateLimiter:
    """
    The rate limit of one connection in one event loop. Times are epoch seconds.

    :param closed_until: when the limit resets (default 0: it is not exceeded).
    :param submit_interval: seconds between two submits (default 1.25), adjusted to what Segmind accepts.
    """

    closed_until: float = 0.0
    submit_interval: float = _SUBMIT_INTERVAL
    _next_slot: float = 0.0
    _submits: int = 0  # since the interval was last adjusted
    _clocks: tuple[float, float] = field(default_factory=lambda: (time.time(), time.monotonic()), repr=False)

    def _now(self) -> float:
        """Return the time (epoch seconds). If this machine's clock was set, the stored times move with it."""
        (wall, steady), self._clocks = self._clocks, (time.time(), time.monotonic())
        step = (self._clocks[0] - wall) - (self._clocks[1] - steady)
        if abs(step) > _CLOCK_SET:
            self.closed_until += step
            self._next_slot += step
        return self._clocks[0]

    def close(self, until: float) -> None:
        """
        Let no call through until the limit resets; an earlier reset than the known one changes nothing.

        :param until: when the limit resets (epoch seconds).
        """
        self.closed_until = max(self.closed_until, until)

    def refused_again(self, until: float) -> None:
        """
        Report that a submit which this limiter had let through was refused: the interval was too short.

        The submits let through before it fit into one window, so the interval is adjusted to their number. Further
        refusals in the same window carry no new information. Few submits carry little: another client may use the
        same key.

        :param until: when the limit resets (epoch seconds).
        """
        if until > self.closed_until:
            if self._submits > _MINIMUM_SAMPLES:
                fitting = 1.05 * WINDOW / (self._submits - 1)
                self.submit_interval = min(_MAX_SUBMIT_INTERVAL, max(self.submit_interval, fitting))
            self._submits = 0
        self.close(until)

    async def wait_until_open(self, deadline: float) -> None:
        """
        Wait for the reset. Waits that end with the same reset are spread over a second and a half.

        :param deadline: when to return at the latest (epoch seconds).
        """
        while (now := self._now()) < min(self.closed_until, deadline):
            pause = spread(self.closed_until - now)
            await asyncio.sleep(max(0.0, min(pause, deadline - now)))

    async def wait_for_submit(self, deadline: float) -> None:
        """
        Wait until a submit may be sent: after the reset, one per ``submit_interval``.

        :param deadline: when to return at the latest (epoch seconds).
        """
        while True:
            now = self._now()
            slot = max(self._next_slot, self.closed_until, now)
            if slot >= deadline:
                await asyncio.sleep(max(0.0, deadline - now))
                return
            self._next_slot = slot + self.submit_interval
            await asyncio.sleep(slot - now)
            if slot >= self.closed_until:  # else the limit was exceeded again meanwhile
                self._count_submit()
                return

    def _count_submit(self) -> None:
        """Count a submit. Two windows without a refusal show that the interval can be shorter."""
        self._submits += 1
        if self._submits * self.submit_interval > 2 * WINDOW:
            self.submit_interval = max(_SUBMIT_INTERVAL, 0.8 * self.submit_interval)
            self._submits = 0
