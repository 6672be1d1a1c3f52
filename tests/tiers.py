"""
The tests of ``make test``: those that start only this process, an emulator, and commands that end.

What a test starts decides, not its duration. A test that starts a part of Airflow, or another server, has one of the
marks in ``WHOLE``. Without one, a test that starts for example ``airflow scheduler`` fails.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

#: Marks of tests that may start parts of Airflow.
WHOLE = ("standalone", "e2e", "ui", "chaos", "cluster")
#: Commands of Airflow that run until they are stopped.
_PARTS = {"standalone", "scheduler", "triggerer", "dag-processor", "api-server", "webserver", "celery", "kerberos"}


class Watch:
    """Refuses to start a part of Airflow in a test without one of the marks."""

    def __init__(self) -> None:
        self._running: pytest.Item | None = None
        self._refused: str | None = None
        sys.addaudithook(self._check)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Remember the running test."""
        self._running = item
        try:
            return (yield)
        finally:
            self._running = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Fail the test even if it, or a task in it, has caught the error."""
        found = yield
        if refused := self._refused:
            self._refused = None
            raise RuntimeError(refused)
        return found

    def _check(self, event: str, arguments: tuple[Any, ...]) -> None:
        item = self._running
        if event != "subprocess.Popen" or item is None or not _is_part(arguments[1]):
            return
        if not any(item.get_closest_marker(mark) for mark in WHOLE):
            self._refused = f"{item.nodeid} starts a part of Airflow: mark it as one of {', '.join(WHOLE)}"
            raise RuntimeError(self._refused)


def _is_part(command: Any) -> bool:
    given = [command] if isinstance(command, str | bytes | Path) else command
    parts = [part for text in given for part in str(text).split()]  # a shell's command is a single string
    return any(Path(one).name == "airflow" and other in _PARTS for one, other in itertools.pairwise(parts))
