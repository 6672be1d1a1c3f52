"""Measure one loop of waits. The wait benchmark runs this in a new process for each contender."""

from __future__ import annotations

import asyncio
import gc
import os
import selectors
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil  # type: ignore[import-untyped]  # Airflow brings it

from benchmarks.gateway import Gateway, Job, gateway
from benchmarks.waiters import CONTENDERS, MODEL, Wait

LATENCY = "lognormal:12:0.2"
#: Another model than the measured one, so that the schedule does not learn from the warm-up.
_WARM_UP = "esrgan"


@dataclass(frozen=True)
class Measured:
    """
    The cost of one loop of waits.

    :param cpu: seconds of CPU of the loop's process.
    :param gateway_cpu: seconds of CPU of the gateway's process.
    :param seconds: from the start of the first wait to the end of the last.
    :param polls: GETs of a status.
    :param results: GETs of a result.
    :param delays: seconds from completion at the gateway to the event of each job.
    :param shares: the same as a share of the job's duration.
    :param worst_block: seconds; the longest that the loop ran without polling its sockets and timers.
    :param memory: bytes per wait.
    """

    cpu: float
    gateway_cpu: float
    seconds: float
    polls: int
    results: int
    delays: list[float]
    shares: list[float]
    worst_block: float
    memory: float


def measure(contender: str, count: int) -> Measured:
    """Run this many waits of one contender in one event loop of this process."""
    log_as_a_triggerer()
    stopwatch = _Stopwatch()
    with (
        gateway(latency=0.2) as server,
        asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(stopwatch)) as loop,
    ):
        make = CONTENDERS[contender]
        loop.run(_together(make(server, _WARM_UP), server.submit(_WARM_UP, 3)))
        server.reset(latency=LATENCY)
        return loop.run(_measure(make(server), server, count, stopwatch))


def log_as_a_triggerer() -> None:
    """Log as a triggerer's loop does: JSON lines at INFO, for a supervisor that does not exist here."""
    from airflow.sdk.log import configure_logging

    configure_logging(json_output=True, output=Path(os.devnull).open("wb"), sending_to_supervisor=True)  # noqa: SIM115


async def _together(wait: Wait, jobs: list[Job]) -> list[float]:
    tasks: list[asyncio.Task[float]] = []
    for job in jobs:
        tasks.append(asyncio.create_task(wait(job)))
        await asyncio.sleep(0)  # as the triggerer does between two starts
    return await asyncio.gather(*tasks)


class _Stopwatch(selectors.DefaultSelector):
    """Measure the longest time for which the loop did not poll its sockets and timers. It wakes nothing up itself."""

    worst = 0.0
    _since: float | None = None

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self._since is not None:
            self.worst = max(self.worst, time.perf_counter() - self._since)
        ready = super().select(timeout)
        self._since = time.perf_counter()
        return ready


async def _measure(wait: Wait, server: Gateway, count: int, stopwatch: _Stopwatch) -> Measured:
    jobs = server.submit(MODEL, count)
    gateway_cpu = server.stats()["cpu_seconds"]
    gc.collect()
    memory = asyncio.create_task(_memory())
    await asyncio.sleep(0)
    stopwatch.worst = 0.0
    cpu, start = time.process_time(), time.perf_counter()
    fired = await _together(wait, jobs)
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - start
    worst_block = stopwatch.worst
    stats = server.stats()
    delays = [at - job.ends_at for at, job in zip(fired, jobs, strict=True)]
    return Measured(
        cpu=cpu,
        gateway_cpu=stats["cpu_seconds"] - gateway_cpu,
        seconds=seconds,
        polls=stats["polls"],
        results=stats["results"],
        delays=delays,
        shares=[delay / job.seconds for delay, job in zip(delays, jobs, strict=True)],
        worst_block=worst_block,
        memory=await memory / count,
    )


async def _memory() -> float:
    """Return the growth of the process in bytes: the median of a few samples while the waits sleep."""
    process = psutil.Process()
    before = process.memory_info().rss
    readings = []
    for _ in range(5):
        await asyncio.sleep(1.0)
        readings.append(process.memory_info().rss - before)
    return float(median(readings))
