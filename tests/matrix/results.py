"""The results of the matrix, kept in ``docs/matrix.json`` and shown as a table in docs/reference/versions.md."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from tests.matrix.versions import AIRFLOWS, PYTHONS, ROOT

KEPT = ROOT / "docs" / "matrix.json"
PAGE = ROOT / "docs" / "reference" / "versions.md"
_TABLE = re.compile(r"(?<=<!-- matrix -->\n).*?(?=<!-- /matrix -->)", re.DOTALL)


def read_report(junit: Path) -> dict[str, int]:
    """Return how many tests of a run passed, failed and were skipped."""
    [suite] = ET.parse(junit).getroot().iter("testsuite")
    total, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    return {"passed": total - skipped - failed, "failed": failed, "skipped": skipped}


def keep(airflow: str, python: str, run: dict[str, Any]) -> None:
    """Write the result of a run to the file and to the page."""
    kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    kept.setdefault(airflow, {})[python] = run
    KEPT.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")
    PAGE.write_text(_TABLE.sub(lambda _: table(kept), PAGE.read_text()))


def table(kept: dict[str, Any]) -> str:
    """Return the table of all Airflows and Pythons."""
    lines = ["| Airflow | " + " | ".join(f"Python {python}" for python in PYTHONS) + " |", "| --- |" + " --- |" * 3]
    for minor, airflow in AIRFLOWS.items():
        runs = kept.get(minor, {})
        cells = [_cell(runs.get(python)) if python in airflow.pythons else "" for python in PYTHONS]
        lines.append(f"| {airflow.release} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(run: dict[str, Any] | None) -> str:
    if run is None:
        return "not run"
    failed = f"**{run['failed']} failed**, " if run["failed"] else ""
    return f"{failed}{run['passed']} passed, {run['skipped']} skipped ({run['suite']})"
