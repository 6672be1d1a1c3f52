"""
The gate of a connection: while a rate limit is closed nobody knocks, and afterwards they come one by one.

In a triggerer one gate per event loop and connection paces all waiting submits, and lets polls through: none while
the limit is closed, not more than the connection's ``polls_per_minute``, and few at the same moment. Between the
processes of one machine a note in the temporary folder says until when the limit is closed, so that a thousand
mapped tasks do not each find out for themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

from airflow_provider_segmind.jitter import spread

#: Seconds between two submits after a reset, until the resets show another pace: Segmind's Pro plan allows 50
#: requests a minute (source: the vendor's documentation).
_PACE = 60.0 / 48
#: Seconds of a rate limit's window: Segmind's limits are per minute.
_WINDOW = 60.0
#: Seconds between two submits at the slowest: the Free plan allows 5 requests a minute (same source).
_SLOWEST = 60.0 / 4.5
#: So many have to pass before one that comes back says anything about the pace.
_MINIMUM_SAMPLES = 4
#: Calls of one connection that are under way at once in one event loop: enough for 150 a second at 200 ms a round
#: trip, and a thousand that are due in one moment do not block the loop.
AT_ONCE = 32
#: Seconds; a clock that moves by more against the monotonic one has been set.
_CLOCK_SET = 5.0
#: Seconds; a note that claims more is no note of ours.
_LONGEST_NOTE = 3600.0


@dataclass
class RateLimiter:
    """
    One connection's gate in one event loop. Times are epoch seconds.

    :param closed_until: nobody passes before.
    :param pace: seconds between two submits that pass.
    :param polls_per_minute: how many polls pass in a minute; None for as many as come.
    """

    closed_until: float = 0.0
    pace: float = _PACE
    polls_per_minute: float | None = None
    at_once: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE), repr=False)
    _next_slot: float = 0.0
    _next_poll: float = 0.0
    _passed: int = 0
    _clocks: tuple[float, float] = field(default_factory=lambda: (time.time(), time.monotonic()), repr=False)

    def _now(self) -> float:
        """Return the time (epoch seconds). Where this machine's clock was set meanwhile, what is kept moves with it."""
        (wall, steady), self._clocks = self._clocks, (time.time(), time.monotonic())
        step = (self._clocks[0] - wall) - (self._clocks[1] - steady)
        if abs(step) > _CLOCK_SET:
            self.closed_until += step
            self._next_slot += step
            self._next_poll += step
        return self._clocks[0]

    def close(self, until: float) -> None:
        """Close the gate, or keep it closed for longer."""
        self.closed_until = max(self.closed_until, until)

    def refused_again(self, until: float) -> None:
        """
        Learn from one that had passed and was refused again: the pace was too fast.

        As many as passed before it fit into a window; the others that come back in the same window say the same.
        Few that passed say little: somebody else may use the same key.
        """
        if until > self.closed_until:
            if self._passed > _MINIMUM_SAMPLES:
                self.pace = min(_SLOWEST, max(self.pace, 1.05 * _WINDOW / (self._passed - 1)))
            self._passed = 0
        self.close(until)

    async def wait_open(self, deadline: float) -> None:
        """Wait until the gate is open, or until the deadline; many come back spread over a second and a half."""
        while (now := self._now()) < min(self.closed_until, deadline):
            wait = spread(self.closed_until - now)
            await asyncio.sleep(max(0.0, min(wait, deadline - now)))

    async def wait_for_poll(self, deadline: float) -> None:
        """
        Wait until a poll may be sent, or until the deadline: the last look at a request that is paid for is made.

        Where polls have a budget they pass in the order in which they become due, so each wait gets its share.
        """
        await self.wait_open(deadline)
        if self.polls_per_minute is None:
            return
        now = self._now()
        slot = max(self._next_poll, now)
        if slot < deadline:
            self.count_poll(slot)
        await asyncio.sleep(max(0.0, min(slot, deadline) - now))
        await self.wait_open(deadline)

    def count_poll(self, at: float | None = None) -> None:
        """Count a poll against the budget, at a moment that was kept for it, or now."""
        if self.polls_per_minute is not None:
            self._next_poll = max(self._next_poll, self._now() if at is None else at) + _WINDOW / self.polls_per_minute

    async def take_slot(self, deadline: float) -> None:
        """Wait for a turn of one's own, or until the deadline."""
        while True:
            now = self._now()
            slot = max(self._next_slot, self.closed_until, now)
            if slot >= deadline:
                await asyncio.sleep(max(0.0, deadline - now))
                return
            self._next_slot = slot + self.pace
            await asyncio.sleep(slot - now)
            if slot >= self.closed_until:
                self._count()
                return

    def _count(self) -> None:
        """Count those that pass; a window that let all of them through shows that a faster pace may do."""
        self._passed += 1
        if self._passed * self.pace > 2 * _WINDOW:
            self.pace = max(_PACE, 0.8 * self.pace)
            self._passed = 0


_LIMITERS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str | None, RateLimiter]] = WeakKeyDictionary()


def rate_limiter_for(segmind_conn_id: str | None) -> RateLimiter:
    """Return the gate of a connection in the running event loop."""
    return _LIMITERS.setdefault(asyncio.get_running_loop(), {}).setdefault(segmind_conn_id, RateLimiter())


def _note(gateway: str, segmind_conn_id: str | None) -> Path:
    name = hashlib.sha256(f"{gateway} {segmind_conn_id}".encode()).hexdigest()[:24]
    return Path(tempfile.gettempdir()) / f"segmind-limit-{os.getuid()}-{name}"


def write_limit(gateway: str, segmind_conn_id: str | None, until: float) -> None:
    """Tell the other processes of this machine until when (epoch seconds) the limit is closed."""
    note = _note(gateway, segmind_conn_id)
    part = note.with_name(f"{note.name}.{os.getpid()}")
    with contextlib.suppress(OSError):  # without a note the others find out for themselves
        part.unlink(missing_ok=True)
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(file, "w") as out:
            out.write(str(until))
        part.replace(note)


def read_limit(gateway: str, segmind_conn_id: str | None) -> float:
    """Return until when (epoch seconds) the limit is closed, as far as this machine knows; 0 if it is not."""
    try:
        # The folder is everybody's: follow no link, wait at no pipe, believe no one else's file.
        file = os.open(_note(gateway, segmind_conn_id), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(file) as note:
            ours = os.fstat(note.fileno()).st_uid == os.getuid()
            until = float(note.read(40))
    except (OSError, ValueError):
        return 0.0
    return until if ours and 0 < until - time.time() < _LONGEST_NOTE else 0.0
