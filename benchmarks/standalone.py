"""Run an Airflow with eight worker slots, an emulator and an image host, and measure a DAG run on them."""

from __future__ import annotations

import shutil
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import psutil  # type: ignore[import-untyped]  # Airflow brings it

from demo.processes import marked
from tests.chaos.rig import Rig

DAGS = Path(__file__).parent / "dags"
SLOTS = 8
#: The conditions that are the same for every contender.
SET = (
    f"One Airflow on this machine: scheduler, triggerer, DAG processor, API server, LocalExecutor with {SLOTS} worker "
    "slots, SQLite; the emulator is a process of its own. Settings are Airflow's defaults but for "
    f"[core] parallelism={SLOTS} and [workers] min_heartbeat_interval=1: with the default, 5, Airflow 3.3 often holds "
    "a slot for 5 s after its task has ended, and a deferral takes at least 6 s."
)
#: LocalExecutor states in the titles of its workers whether they are idle.
_TITLE, _IDLE = "airflow worker -- LocalExecutor", "<idle>"
#: Seconds between two polls of the workers.
_POLL = 0.1


class Workers:
    """
    Poll the executor's worker processes from outside, and add up the time for which they were busy.

    A worker is busy from the moment at which it takes a task off the queue until its supervisor returns: this is one
    slot. Task durations in the database are different: they exclude the start of the process and the time after the
    task, and for a deferred or rescheduled task they contain only the first start and the last end.

    :param home: the AIRFLOW_HOME that marks the processes.
    """

    def __init__(self, home: Path) -> None:
        by_pid = {process.pid: process for process in marked(home) if _title(process).startswith(_TITLE)}
        self._workers = [process for process in by_pid.values() if process.ppid() not in by_pid]
        if len(self._workers) != SLOTS:
            raise RuntimeError(f"expected {SLOTS} workers, found {self._workers}")
        self._polls: list[tuple[float, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._cpu_before = self._cpu()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.cpu_seconds = self._cpu() - self._cpu_before

    @property
    def seconds(self) -> float:
        """Worker slots x seconds."""
        pairs = zip(self._polls, self._polls[1:], strict=False)
        return sum(busy * (at - before) for (before, _), (at, busy) in pairs)

    @property
    def by_second(self) -> list[float]:
        """The mean number of busy workers in each second, for the plot."""
        counted: dict[int, list[int]] = defaultdict(list)
        for at, busy in self._polls:
            counted[int(at - self._polls[0][0])].append(busy)
        return [round(sum(seen) / len(seen), 2) for seen in counted.values()]

    def busy(self) -> int:
        """Return the number of workers that are busy now."""
        return sum(_IDLE not in _title(worker) for worker in self._workers)

    def _watch(self) -> None:
        while not self._stop.wait(_POLL):
            self._polls.append((time.monotonic(), self.busy()))

    def _cpu(self) -> float:
        """Return the CPU seconds of the workers and of all their task processes."""
        return float(sum(sum(worker.cpu_times()[:4]) for worker in self._workers))


def _title(process: psutil.Process) -> str:
    return " ".join(process.cmdline())


@dataclass(frozen=True)
class Measured:
    """
    The cost of one DAG run.

    :param wall: seconds from the run's start to its end, by Airflow's own dates.
    :param clock: seconds from the call that triggers the run to the poll that finds its end.
    :param slot_seconds: worker slots x seconds.
    :param cpu_seconds: CPU seconds of the worker processes and their tasks.
    :param starts: how often a worker started a task; a deferred task is started twice, a rescheduled one often.
    :param retries: tries beyond the first of each task.
    :param submits: accepted submits.
    :param polls: GETs of a status.
    :param results: GETs of a result.
    :param busy: busy worker slots in each second.
    :param run_id: the id of the run.
    """

    wall: float
    clock: float
    slot_seconds: float
    cpu_seconds: float
    starts: int
    retries: int
    submits: int
    polls: int
    results: int
    busy: Sequence[float] = field(repr=False)
    run_id: str

    def figures(self, jobs: int) -> dict[str, float | None]:
        """Return the figures by column."""
        return {
            "wall (s)": self.wall,
            "by the clock (s)": self.clock,
            "worker-slot seconds": self.slot_seconds,
            "CPU of workers (s)": self.cpu_seconds,
            "task starts": self.starts,
            "Airflow retries": self.retries,
            "accepted submits": self.submits,
            "status GETs per job": self.polls / jobs,
            "result GETs per job": self.results / jobs,
        }


@dataclass
class Standalone(Rig):
    """
    Airflow, emulator and image host as a context manager, see :func:`standalone`.

    :param files: names of the DAG files of this folder's ``dags/``.
    :param counts: numbers of images; each contender has a DAG for each.
    """

    files: Sequence[str] = ()
    counts: Sequence[int] = ()

    def prepare(self) -> None:
        super().prepare()
        for name in self.files:
            shutil.copy(DAGS / f"{name}.py", self.path / "dags")
        self.dags = self.files

    def environment(self) -> dict[str, str]:
        found = super().environment() | {
            "BENCH_COUNTS": ",".join(map(str, self.counts)),
            "BENCH_IMAGES": self.images.url,
            "BENCH_GATEWAY": self.emulator_url,
            "BENCH_OUT": self.out.as_uri(),
        }
        # Keep byte code, as for an installed package: otherwise each task process compiles ours again (0.14 s).
        found.pop("PYTHONDONTWRITEBYTECODE", None)
        return found

    def _airflow_settings(self) -> dict[str, str]:
        """Return the settings with Airflow's defaults for scheduler and triggerer, which the chaos tests shorten."""
        shortened = ("AIRFLOW__SCHEDULER__", "AIRFLOW__TRIGGERER__")
        settings = {
            name: value for name, value in super()._airflow_settings().items() if not name.startswith(shortened)
        }
        return settings | {"AIRFLOW__CORE__PARALLELISM": str(SLOTS)}

    def measure(self, dag_id: str, *, latency: float, seconds: float = 1800, **emulator: Any) -> Measured:
        """
        Run a DAG once, alone, and measure it.

        :param dag_id: id of the DAG.
        :param latency: seconds of each job.
        :param seconds: timeout of the run (default: 1800).
        :param emulator: further settings of the emulator, which is reset before the run.
        :raises RuntimeError: a task failed.
        """
        self.emulator("reset", "POST", latency=str(latency), **emulator)
        run_id = f"bench-{time.time():.0f}"
        with Workers(self.path) as workers:
            begun = time.monotonic()
            state = self.run(dag_id, run_id, seconds=seconds)
            clock = time.monotonic() - begun
            self.wait("the workers are idle", lambda: not workers.busy(), seconds=30)
        if state != "success":
            raise RuntimeError(f"{dag_id} ended in state {state}")
        run = self.api.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}")
        start, end = (datetime.fromisoformat(run[name]) for name in ("start_date", "end_date"))
        stats = self.stats()
        return Measured(
            wall=(end - start).total_seconds(),
            clock=clock,
            slot_seconds=workers.seconds,
            cpu_seconds=workers.cpu_seconds,
            starts=self._events(dag_id, run_id, "running"),
            retries=sum(max(0, ti["try_number"] - 1) for ti in self.api.instances(dag_id, run_id)),
            submits=stats["submits_accepted"],
            polls=stats["polls"],
            results=stats["results"],
            busy=workers.by_second,
            run_id=run_id,
        )

    def _events(self, dag_id: str, run_id: str, event: str) -> int:
        query = {"dag_id": dag_id, "run_id": run_id, "event": event, "limit": 1}
        return int(self.api.get("/api/v2/eventLogs", **query)["total_entries"])


@contextmanager
def standalone(*files: str, counts: Sequence[int]) -> Iterator[Standalone]:
    """Start everything in a temporary folder, with these DAG files and counts; stop it and delete the folder."""
    with (
        TemporaryDirectory(prefix="segmind-bench-") as folder,
        Standalone(Path(folder) / "airflow", files=files, counts=counts) as it,
    ):
        yield it
