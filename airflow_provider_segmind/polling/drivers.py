"""Two drivers for the steps of a wait: the same conversation, with and without an event loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.exceptions import SegmindAuthError, SegmindError, SegmindRateLimitedError
from airflow_provider_segmind.polling.loop import Pause, Step
from airflow_provider_segmind.polling.rate_limiter import RateLimiter
from airflow_provider_segmind.polling.schedule import clip
from airflow_provider_segmind.polling.shared_client import SharedClient
from airflow_provider_segmind.retry_budget import ONCE

if TYPE_CHECKING:
    from airflow_provider_segmind.client import SegmindClient
    from airflow_provider_segmind.protocol.calls import Call
    from airflow_provider_segmind.protocol.events import Event

#: Seconds. Looks of many waits that are due within one tick wake the loop once: waking it costs more than a look.
_TICK = 0.05


def steady_clock() -> Callable[[], float]:
    """Return a clock (epoch seconds) that a change of this machine's time does not move: deadlines stay."""
    began, at = time.monotonic(), time.time()
    return lambda: at + time.monotonic() - began


Steps = Generator[Step, Any, "Event"]


def drive(
    steps: Steps,
    client: SegmindClient,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Event:
    """
    Drive a wait in a task process. Each call is sent once: the steps themselves know when to look again.

    Nobody else shares the connection's ``polls_per_minute`` here, so it is the least time between two looks.
    """
    per_minute = client.settings.polls_per_minute
    least = 60.0 / per_minute if per_minute else 0.0
    try:
        step = next(steps)
        while True:
            if isinstance(step, Pause):
                sleep(clip(max(step.seconds, least), now=clock(), deadline=step.deadline))
                step = steps.send(None)
                continue
            try:
                response = client.send(step, budget=ONCE)
            except SegmindError as error:
                step = steps.throw(error)
            else:
                step = steps.send(response)
    except StopIteration as end:
        event: Event = end.value
        return event


async def adrive(
    steps: Steps, lease: SharedClient, limiter: RateLimiter, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> Event:
    """
    Drive a wait on an event loop, see :func:`drive`.

    The gate lets looks through. A 429 closes it for all polls of the connection in this loop until the reset, and a
    key that is refused is tried again if the connection has another one by now.
    """
    counted = False
    try:
        step = next(steps)
        while True:
            if isinstance(step, Pause):
                await sleep(_to_next_tick(step.seconds))
                await limiter.wait_for_poll(step.deadline)
                counted = True
                step = steps.send(None)
                continue
            if not counted:
                limiter.count_poll()  # a result follows its look at once, and somebody's next look waits for it
            counted = False
            try:
                response = await _send(step, lease, limiter)
            except SegmindError as error:
                step = steps.throw(error)
            else:
                step = steps.send(response)
    except StopIteration as end:
        event: Event = end.value
        return event


def _to_next_tick(seconds: float) -> float:
    """Return the seconds to the first tick after so many seconds."""
    now = asyncio.get_running_loop().time()
    return math.ceil((now + seconds) / _TICK) * _TICK - now


async def _send(call: Call[Any], lease: SharedClient, limiter: RateLimiter) -> Any:
    while True:
        client = await lease.client()
        limiter.polls_per_minute = client.settings.polls_per_minute
        try:
            async with limiter.at_once:
                return await client.send(call, budget=ONCE)
        except SegmindRateLimitedError as error:
            limiter.close(time.time() + (error.wait_seconds(time.time()) or 0.0))
            raise
        except SegmindAuthError:
            if not await lease.changed():
                raise
