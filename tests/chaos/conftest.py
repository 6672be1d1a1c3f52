"""One Airflow for each test file. Measurements are printed, and written to a file if CHAOS_REPORT is set."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.rig import Rig

Measure = Callable[[str, list[dict[str, Any]]], None]
_TABLES: dict[str, list[dict[str, Any]]] = {}


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Run an Airflow for the tests of one file, so that it has ended before other tests run on this machine."""
    home = tmp_path_factory.mktemp("chaos") / "home"
    with Rig(home, dags=("chaos_kills", "chaos_peers", "chaos_many")) as running:
        yield running
    assert not running.running(), "processes are left behind"


@pytest.fixture
def measure() -> Measure:
    """Return a function that stores a table (name and rows) until the end of the session."""

    def keep(table: str, rows: list[dict[str, Any]]) -> None:
        _TABLES.setdefault(table, []).extend(rows)

    return keep


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the measurements."""
    for name, rows in _TABLES.items():
        terminalreporter.section(f"measured: {name}")
        for row in rows:
            terminalreporter.write_line("  ".join(f"{key}={value}" for key, value in row.items()))
    if report := os.environ.get("CHAOS_REPORT"):
        Path(report).write_text(json.dumps(_TABLES, indent=1))
