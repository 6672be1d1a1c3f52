"""Run the poll loop: in a task process (:func:`wait_for_request`) or on an event loop (:func:`await_request`)."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.exceptions import SegmindError, SegmindRateLimitedError
from airflow_provider_segmind.polling.clock import steady_clock
from airflow_provider_segmind.polling.durations import durations_of
from airflow_provider_segmind.polling.limits import ConnectionLimits, limits_of
from airflow_provider_segmind.polling.loop import Pause, Step, Watch
from airflow_provider_segmind.polling.schedule import clip
from airflow_provider_segmind.retry_budget import ONCE

if TYPE_CHECKING:
    from airflow_provider_segmind.client import SegmindClient
    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.polling.shared_client import SharedClient
    from airflow_provider_segmind.protocol.calls import Call
    from airflow_provider_segmind.protocol.events import Event
    from airflow_provider_segmind.protocol.wire import RequestState

#: Seconds. Polls of many waits that are due within one tick wake the event loop once: a wake-up costs more CPU than a
#: poll.
_TICK = 0.05

Steps = Generator[Step, Any, "Event"]


def with_learned_durations(watch: Watch, segmind_conn_id: str | None) -> Watch:
    """Return the wait with the durations that this process has learned of its model, so that it adds its own."""
    return replace(watch, durations=durations_of(segmind_conn_id, watch.model))


def log_start(watch: Watch, info: Callable[..., Any], place: str) -> None:
    """
    Log that a wait starts.

    :param info: writes a line of log, such as ``log.info``.
    :param place: where it runs, such as ``in this worker``.
    """
    limit = watch.deadline - watch.submitted_at
    text = "Waiting for Segmind request %s (%s) %s, until %.0f s after its submit"
    info(text, watch.request_id, watch.model, place, limit)


def with_progress_log(watch: Watch, info: Callable[..., Any]) -> Watch:
    """Return the wait with a line of log for each new state, and one a minute while the state stays the same."""
    limit = watch.deadline - watch.submitted_at
    text = "Segmind request %s (%s) is %s after %.0f s; timeout %.0f s"

    def report(state: RequestState, seconds: float) -> None:
        info(text, watch.request_id, watch.model, state, seconds, limit)

    return replace(watch, on_progress=report)


def wait_for_request(hook: SegmindHook, watch: Watch) -> Event:
    """
    Wait in this process until the request has ended or its deadline has passed, and return the event.

    :param hook: the connection.
    :param watch: the request, its deadline and its schedule.
    :raises SegmindConfigError: the connection is missing or invalid. Every other error is an event.
    """
    watch = with_learned_durations(watch, hook.segmind_conn_id)
    watch = replace(watch, poll_error_timeout=hook.settings.poll_error_timeout)
    clock = steady_clock()
    return drive(watch.steps(clock), hook.get_conn(), clock=clock)


async def await_request(client: SharedClient, watch: Watch) -> Event:
    """
    Wait on the event loop until the request has ended or its deadline has passed, and return the event.

    :param client: the shared client of the connection.
    :param watch: the request, its deadline and its schedule.
    :raises SegmindConfigError: the connection is missing or invalid. Every other error is an event.
    """
    settings = (await client.get()).settings
    watch = with_learned_durations(watch, client.segmind_conn_id)
    watch = replace(watch, poll_error_timeout=settings.poll_error_timeout)
    return await adrive(watch.steps(steady_clock()), client, limits_of(client.segmind_conn_id))


def drive(
    steps: Steps,
    client: SegmindClient,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.time,
) -> Event:
    """
    Run a poll loop in a task process. Each call is sent once: the loop itself decides when to poll again.

    No other wait shares the connection's ``polls_per_minute`` here, so it is the minimum interval between two polls.
    """
    per_minute = client.settings.polls_per_minute
    minimum = 60.0 / per_minute if per_minute else 0.0
    try:
        step = next(steps)
        while True:
            if isinstance(step, Pause):
                sleep(clip(max(step.seconds, minimum), now=clock(), deadline=step.deadline))
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
    steps: Steps,
    client: SharedClient,
    limits: ConnectionLimits,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Event:
    """
    Run a poll loop on an event loop, see :func:`drive`.

    A 429 stops all polls of the connection in this event loop until the reset. After a refused key the connection is
    read again, and the call is repeated if it has changed.
    """
    counted = False
    try:
        step = next(steps)
        while True:
            if isinstance(step, Pause):
                await sleep(_to_next_tick(step.seconds))
                await limits.wait_for_poll(step.deadline)
                counted = True
                step = steps.send(None)
                continue
            if not counted:
                limits.poll_budget.count()  # the result is fetched right after its poll, so the next poll waits longer
            counted = False
            try:
                response = await _send(step, client, limits)
            except SegmindError as error:
                step = steps.throw(error)
            else:
                step = steps.send(response)
    except StopIteration as end:
        event: Event = end.value
        return event


def _to_next_tick(seconds: float) -> float:
    """Return the seconds until the first tick that is at least ``seconds`` away."""
    now = asyncio.get_running_loop().time()
    return math.ceil((now + seconds) / _TICK) * _TICK - now


async def _send(call: Call[Any], client: SharedClient, limits: ConnectionLimits) -> Any:
    try:
        async with limits.concurrent_calls:
            return await client.send(call, budget=ONCE)
    except SegmindRateLimitedError as error:
        limits.rate_limiter.close(time.time() + (error.wait_seconds(time.time()) or 0.0))
        raise
