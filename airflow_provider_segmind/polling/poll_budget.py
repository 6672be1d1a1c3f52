"""The connection's ``polls_per_minute``: how many polls all waits of one event loop may send together."""

from __future__ import annotations

import time
from dataclasses import dataclass

from airflow_provider_segmind.polling.rate_limiter import WINDOW


@dataclass
class PollBudget:
    """
    The poll budget of one connection in one event loop.

    :param polls_per_minute: maximum number of polls per minute; None (default) for no limit.
    """

    polls_per_minute: float | None = None
    _next_slot: float = 0.0  # seconds on the monotonic clock

    def reserve(self, within: float) -> float:
        """
        Return the seconds until the poll may be sent, and count it.

        Polls are sent in the order in which they become due, so each wait gets its share. A poll that cannot be sent
        in time is not counted.

        :param within: seconds until the deadline of the wait. The last poll, at the deadline, is sent whatever the
            budget, because the request is billed.
        """
        if self.polls_per_minute is None:
            return 0.0
        now = time.monotonic()
        slot = max(self._next_slot, now)
        if slot < now + within:
            self._next_slot = slot + WINDOW / self.polls_per_minute
        return max(0.0, min(slot - now, within))

    def count(self) -> None:
        """Count a call that is sent now without a reservation: the following polls wait for it."""
        if self.polls_per_minute is not None:
            self._next_slot = max(self._next_slot, time.monotonic()) + WINDOW / self.polls_per_minute
