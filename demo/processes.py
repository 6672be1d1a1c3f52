"""Find and stop processes by a mark in their environment, wherever they are in the process tree."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]  # Airflow brings it

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Every process that Airflow starts inherits this variable, even one that leaves its parent, group and session.
MARK = "AIRFLOW_HOME"


def marked(home: Path) -> list[psutil.Process]:
    """Return every other running process whose environment has this AIRFLOW_HOME."""
    found = []
    for process in psutil.process_iter():
        # Processes of other users and processes that have just ended cannot be read. They are not ours.
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == str(home):
                found.append(process)
    return [process for process in found if _runs(process)]


def stop_marked(home: Path, *, grace: float = 8.0) -> list[int]:
    """
    Stop every process of this AIRFLOW_HOME, and return the ids of those that are still running.

    :param home: the AIRFLOW_HOME in their environment.
    :param grace: seconds between SIGTERM and SIGKILL (default: 8).
    """
    deadline = time.monotonic() + grace
    asked: set[int] = set()
    empty_polls = 0
    while empty_polls < 2 and time.monotonic() < deadline + grace:
        processes = marked(home)
        # A process that was just starting during the first poll has its own environment by the second.
        empty_polls = 0 if processes else empty_polls + 1
        in_grace = time.monotonic() < deadline
        for process in processes:
            if not in_grace:
                _send(process, signal.SIGKILL)
            elif process.pid not in asked:
                asked.add(process.pid)
                _send(process, signal.SIGTERM)
        psutil.wait_procs(processes, timeout=0.3)
        if not processes:
            time.sleep(0.1)
    return [process.pid for process in marked(home)]


@contextlib.contextmanager
def signals_ignored() -> Iterator[None]:
    """Ignore SIGINT and SIGTERM, so that a second Ctrl-C does not interrupt the clean-up."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.Error):
        process.send_signal(number)
