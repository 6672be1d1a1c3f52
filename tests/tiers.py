"""
Which tests ``make test`` runs: those that start no more than this process, an emulator, and commands that end.

What a test starts decides, not how long it takes. A test that starts a part of Airflow, or another server, has one of
the marks in ``WHOLE``; without one, it is an error if the test starts ``airflow scheduler`` or the like itself.
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
        """Know which test runs."""
        self._running = item
        try:
            return (yield)
        finally:
            self._running = None

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[None]:
        """Fail the test also where it, or a task in it, has caught the error."""
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
    words = [word for text in given for word in str(text).split()]  # a shell's command is one text
    return any(Path(word).name == "airflow" and part in _PARTS for word, part in itertools.pairwise(words))
