"""SIGKILL at any moment: processes that run an operator's code, chosen at random while a DAG run goes on."""

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

#: A task leaves a mark with the id of its process and this ending when its operator begins, or goes on after a wait.
BEGUN = ".begun"
#: Seconds for which an operator runs at least until it defers, or until it ends.
_LATER = 0.3


@contextlib.contextmanager
def repeatedly(act: Callable[[], object], *, every: float) -> Iterator[None]:
    """Do something every so many seconds, from a thread, while the block runs; raise what went wrong there."""
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
    :param most: the most kills.
    :param number: how many were killed.
    """

    marks: Path
    most: int
    number: int = 0

    def strike(self) -> None:
        """Kill one of the processes that run an operator now; or one that begins within a second, somewhat later."""
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
        """Return the processes that run an operator now: no supervisor, no other part of Airflow leaves a mark."""
        found = []
        for mark in self.marks.glob(f"*{BEGUN}"):
            try:
                process = psutil.Process(int(mark.name.removesuffix(BEGUN)))
                if process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= mark.stat().st_mtime:
                    found.append(process)
                    continue
            except psutil.NoSuchProcess:
                pass
            mark.unlink()  # it has ended: its id may be used again
        return found
