"""SIGKILL at random moments: kill random processes that run an operator during a DAG run."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # Airflow brings it

#: A task creates a mark, named by the id of its process and this extension, when its operator starts or resumes.
BEGUN = ".begun"
#: Minimum seconds for which an operator runs until it defers or ends.
_LATER = 0.3


@contextlib.contextmanager
def repeatedly(act: Callable[[], object], *, every: float) -> Iterator[None]:
    """Call ``act`` every ``every`` seconds from a thread while the block runs; raise its exception."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(every):
            act()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            yield
        finally:
            over.set()
        running.result()


@dataclass
class RandomKills:
    """
    Kills of one process at a time.

    :param marks: the folder with the marks of the tasks.
    :param most: maximum number of kills.
    :param number: number of kills so far.
    """

    marks: Path
    most: int
    number: int = 0

    def kill_one(self) -> None:
        """Kill one of the processes that run an operator now, or one that starts within a second."""
        if self.number >= self.most:
            return
        if not self._running():
            deadline = time.monotonic() + 1
            while not self._running() and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(random.uniform(0, _LATER))
        if victims := self._running():
            with contextlib.suppress(psutil.NoSuchProcess):
                random.choice(victims).kill()
                self.number += 1

    def _running(self) -> list[psutil.Process]:
        """Return the processes that run an operator now. Supervisors and other parts of Airflow create no mark."""
        found = []
        for mark in self.marks.glob(f"*{BEGUN}"):
            try:
                process = psutil.Process(int(mark.name.removesuffix(BEGUN)))
                if process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= mark.stat().st_mtime:
                    found.append(process)
                    continue
            except psutil.NoSuchProcess:
                pass
            mark.unlink()  # the process has ended, and its id may be used again
        return found
