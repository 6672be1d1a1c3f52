"""Two drivers for the steps of a wait: the same conversation, with and without an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.exceptions import SegmindError, SegmindRateLimitedError
from airflow_provider_segmind.hooks.gate import Gate
from airflow_provider_segmind.protocol.waiting import Pause, Step
from airflow_provider_segmind.retrying import ONCE

if TYPE_CHECKING:
    from airflow_provider_segmind.client import AsyncSegmindClient, SegmindClient
    from airflow_provider_segmind.protocol.events import Event

Steps = Generator[Step, Any, "Event"]


def drive(steps: Steps, client: SegmindClient, sleep: Callable[[float], None] = time.sleep) -> Event:
    """Drive a wait in a task process. Each call is sent once: the steps themselves know when to look again."""
    try:
        step = next(steps)
        while True:
            if isinstance(step, Pause):
                sleep(step.seconds)
                step = steps.send(None)
                continue
            try:
                answer = client.send(step, budget=ONCE)
            except SegmindError as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        event: Event = end.value
        return event


async def adrive(
    steps: Steps, client: AsyncSegmindClient, gate: Gate, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> Event:
    """
    Drive a wait on an event loop, see :func:`drive`.

    A 429 on one poll closes the gate for all polls of the connection in this loop until the reset.
    """
    try:
        step = next(steps)
        while True:
            if isinstance(step, Pause):
                await sleep(step.seconds)
                await gate.wait_open(step.deadline)
                step = steps.send(None)
                continue
            try:
                answer = await client.send(step, budget=ONCE)
            except SegmindError as error:
                if isinstance(error, SegmindRateLimitedError):
                    gate.close(time.time() + (error.wait_seconds(time.time()) or 0.0))
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        event: Event = end.value
        return event
