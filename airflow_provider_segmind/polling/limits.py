"""What limits the calls of one connection in one event loop: rate limit, poll budget, number of concurrent calls."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from airflow_provider_segmind.polling.poll_budget import PollBudget
from airflow_provider_segmind.polling.rate_limiter import RateLimiter

#: Maximum number of concurrent polls: enough for 150 polls a second at a round trip of 200 ms. A thousand polls that
#: are due in the same moment do not block the event loop.
_CONCURRENT_CALLS = 32


@dataclass
class ConnectionLimits:
    """
    The limits of one connection in one event loop.

    :param rate_limiter: when a submit or a poll may be sent after a rate limit.
    :param poll_budget: how many polls may be sent per minute.
    :param concurrent_calls: held during each call.
    """

    rate_limiter: RateLimiter = field(default_factory=RateLimiter)
    poll_budget: PollBudget = field(default_factory=PollBudget)
    concurrent_calls: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(_CONCURRENT_CALLS), repr=False
    )

    async def wait_for_poll(self, deadline: float) -> None:
        """
        Wait until a poll may be sent. The last poll of a request, at its deadline, is always sent.

        :param deadline: when to return at the latest (epoch seconds).
        """
        await self.rate_limiter.wait_until_open(deadline)
        if self.poll_budget.polls_per_minute is not None:
            await asyncio.sleep(self.poll_budget.reserve(deadline - time.time()))
            await self.rate_limiter.wait_until_open(deadline)


_LIMITS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str | None, ConnectionLimits]] = WeakKeyDictionary()


def limits_of(segmind_conn_id: str | None) -> ConnectionLimits:
    """Return the limits of a connection in the running event loop."""
    return _LIMITS.setdefault(asyncio.get_running_loop(), {}).setdefault(segmind_conn_id, ConnectionLimits())
