"""
Which tests ``make test`` runs: those that start no more than this process, an emulator, and commands that end.

What a test starts decides, not how long it takes. A test that starts a part of Airflow, or another server, has one of
the marks in ``WHOLE``; without one, it is an error if the test starts ``airflow scheduler`` or the like itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

#: Marks of tests that may start parts of Airflow.
WHOLE = ("standalone", "e2e", "ui", "chaos", "cluster")
#: Commands of Airflow that run until they are stopped.
_PARTS = {"standalone", "scheduler", "triggerer", "dag-processor", "api-server", "webserver"}


class Watch:
    """Refuses to start a part of Airflow in a test without one of the marks."""

    def __init__(self) -> None:
        self._running: pytest.Item | None = None
        sys.addaudithook(self._check)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Know which test runs."""
        self._running = item
        try:
            return (yield)
        finally:
            self._running = None

    def _check(self, event: str, arguments: tuple[Any, ...]) -> None:
        item = self._running
        if event != "subprocess.Popen" or item is None or not _is_part(arguments[1]):
            return
        if not any(item.get_closest_marker(mark) for mark in WHOLE):
            raise RuntimeError(f"{item.nodeid} starts a part of Airflow: mark it as one of {', '.join(WHOLE)}")


def _is_part(command: Any) -> bool:
    words = [str(word) for word in command[:2]] if isinstance(command, list | tuple) else []
    return len(words) == 2 and Path(words[0]).name == "airflow" and words[1] in _PARTS
