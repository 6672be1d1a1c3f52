"""``make soak``: keep 500 waits running for half an hour, and verify that memory and descriptors do not grow."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib as mpl
import psutil  # type: ignore[import-untyped]  # Airflow brings it
from matplotlib.figure import Figure
from rich.console import Console

from benchmarks import results
from benchmarks.figures import Part, Ratio, Row
from benchmarks.gateway import Gateway, Job, gateway
from benchmarks.isolated import airflow_home, in_fresh_process
from benchmarks.plot import OURS
from benchmarks.report import show
from benchmarks.waiters import MODEL, Wait, ours
from benchmarks.waiting import LATENCY, log_as_a_triggerer

FOLDER = Path(__file__).parent / "results"
FULL_MINUTES, WAITS = 30.0, 500
#: Seconds between two samples.
_EVERY = 5.0
#: The share of the run that is ignored, because imports, caches and allocator arenas fill up first.
_WARM_UP = 0.2
#: Maximum rise of a line through the samples, from the end of the warm-up to the end of the run.
_MOST_MEMORY, _MOST_DESCRIPTORS = 2.0, 2.0  # per cent of the memory; descriptors

_CONDITIONS = (
    "Jobs of 12 s (lognormal, sigma 0.2) in one event loop, as a triggerer runs our trigger: whenever one has fired "
    "its event, the next is submitted and waited for, until the time is up and the last have ended. The gateway is "
    f"another process. Resident memory and open descriptors of the loop's process are sampled every {_EVERY:g} s; "
    f"growth is that of a line through the samples after the first {100 * _WARM_UP:g} % of the run."
)


@dataclass
class Soaked:
    """
    The samples of the loop's process.

    :param seconds: when each sample was taken, from the start.
    :param memory: resident set (bytes).
    :param descriptors: open files and sockets.
    :param waiting: running waits.
    :param done: waits that had ended in success.
    :param cpu: seconds of CPU in all.
    """

    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    descriptors: list[float] = field(default_factory=list)
    waiting: list[float] = field(default_factory=list)
    done: list[float] = field(default_factory=list)
    cpu: float = 0.0


class _Lanes:
    """A number of lanes that wait for one request after another, and a sampler of the process."""

    def __init__(self, server: Gateway, wait: Wait, seconds: float) -> None:
        self._server = server
        self._pipe = threading.Lock()
        self._wait = wait
        self._start = time.monotonic()
        self._end = self._start + seconds
        self._waiting = self._done = 0
        self.found = Soaked()

    async def run(self, count: int) -> Soaked:
        """Run the lanes until the last wait has ended. A wait that fails ends the run."""
        cpu = time.process_time()
        async with asyncio.TaskGroup() as group:
            for job in self._server.submit(MODEL, count):
                group.create_task(self._lane(job))
                await asyncio.sleep(0)
            group.create_task(self._poll())
        self.found.cpu = time.process_time() - cpu
        return self.found

    async def _lane(self, job: Job) -> None:
        while True:
            self._waiting += 1
            await self._wait(job)
            self._waiting -= 1
            self._done += 1
            if time.monotonic() >= self._end:
                return
            job = await asyncio.to_thread(self._submit)

    def _submit(self) -> Job:
        with self._pipe:
            return self._server.submit(MODEL, 1)[0]

    async def _poll(self) -> None:
        process, console, found = psutil.Process(), Console(), self.found
        while (now := time.monotonic()) < self._end:
            found.seconds.append(now - self._start)
            found.memory.append(process.memory_info().rss)
            found.descriptors.append(process.num_fds())
            found.waiting.append(self._waiting)
            found.done.append(self._done)
            if len(found.seconds) % round(60 / _EVERY) == 1:
                console.print(
                    f"{now - self._start:5.0f} s: {found.memory[-1] / 2**20:.1f} MiB, {found.descriptors[-1]:.0f} "
                    f"descriptors, {self._waiting} waiting, {self._done:,} done"
                )
            await asyncio.sleep(_EVERY)


def soak(minutes: float, waits: int) -> Soaked:
    """Run the soak in this process."""
    log_as_a_triggerer()
    with gateway(latency=LATENCY) as server, asyncio.Runner() as loop:
        return loop.run(_run(server, minutes, waits))


async def _run(server: Gateway, minutes: float, waits: int) -> Soaked:
    return await _Lanes(server, ours(server), 60 * minutes).run(waits)


def part_of(found: Soaked, minutes: float, waits: int) -> Part:
    """Return the samples as figures and limits."""
    judged = slice(round(_WARM_UP * len(found.seconds)), None)
    memory, descriptors = found.memory[judged], found.descriptors[judged]
    grown, opened = _growth(found.seconds[judged], memory), _growth(found.seconds[judged], descriptors)
    waited = found.done[-1] - found.done[judged][0]
    share = 100 * grown / statistics.mean(memory)
    return Part(
        name="soak",
        title=f"{minutes:g} minutes with {waits:,} waits at any time",
        conditions=_CONDITIONS,
        rows=[
            Row(
                "ours",
                f"{waits:,} waits, {minutes:g} min",
                {
                    "waits that ended": found.done[-1],
                    "CPU per wait (ms)": 1000 * found.cpu / found.done[-1],
                    "fewest waiting at a time": min(found.waiting),
                    "memory, mean (MiB)": statistics.mean(memory) / 2**20,
                    "memory, least (MiB)": min(memory) / 2**20,
                    "memory, most (MiB)": max(memory) / 2**20,
                    "memory, growth (KiB)": grown / 1024,
                    "memory, growth for each wait that ended (bytes)": grown / waited,
                    "descriptors, least": min(descriptors),
                    "descriptors, most": max(descriptors),
                    "descriptors, growth": opened,
                },
            )
        ],
        ratios=[
            Ratio("growth of memory (% of it)", share, at_most=_MOST_MEMORY),
            Ratio("growth of descriptors", opened, at_most=_MOST_DESCRIPTORS),
            Ratio("waiting at a time, mean share of all", statistics.mean(found.waiting) / waits, at_least=0.95),
        ],
        series={
            "seconds": found.seconds,
            "memory (MiB)": [value / 2**20 for value in found.memory],
            "descriptors": found.descriptors,
            "waiting": found.waiting,
        },
    )


def _growth(seconds: Sequence[float], values: Sequence[float]) -> float:
    """Return the rise of a line through the samples from the first to the last."""
    return statistics.linear_regression(seconds, values).slope * (seconds[-1] - seconds[0])


def draw(part: Part, path: Path) -> None:
    """Draw memory, descriptors and waits over time, into a PNG file."""
    minutes = [second / 60 for second in part.series["seconds"]]
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9.0, 5.4), layout="constrained")
        figure.suptitle(part.title, fontweight="bold")
        for axes, name in zip(
            figure.subplots(3, 1, sharex=True), ("memory (MiB)", "descriptors", "waiting"), strict=True
        ):
            axes.plot(minutes, part.series[name], color=OURS)
            axes.set_ylabel(name)
            axes.set_ylim(0, None)
            axes.axvspan(0, _WARM_UP * minutes[-1], color="#DDDDDD", alpha=0.5)  # ignored
            axes.grid(alpha=0.3)
        axes.set_xlabel("minutes (grey: not judged)")
        figure.savefig(path, dpi=90, metadata={"Software": None})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak, show and store the result; return 1 if something grows."""
    command = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    command.add_argument("--minutes", type=float, default=FULL_MINUTES, help="default: %(default)g")
    command.add_argument("--waits", type=int, default=WAITS, help="at any time; default: %(default)s")
    options = command.parse_args(arguments)
    with airflow_home():
        found = in_fresh_process(soak, options.minutes, options.waits)
    part = part_of(found, options.minutes, options.waits)
    show(Console(width=120), part)
    full = options.minutes >= FULL_MINUTES and options.waits >= WAITS
    path = FOLDER / ("soak.json" if full else "quick-soak.json")
    results.keep(path, part.name, part)
    draw(part, path.with_suffix(".png"))
    return int(not all(ratio.holds for ratio in part.ratios))


if __name__ == "__main__":
    sys.exit(main())
