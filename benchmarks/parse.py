"""The cost of an import in the DAG processor: seconds and modules in addition to Airflow's own."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.figures import Part, Ratio, Row
from benchmarks.isolated import airflow_home

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "airflow_provider_segmind"
OURS = f"{PACKAGE}.operators.segmind"
PEERS = {
    "ours": OURS,
    "HttpOperator": "airflow.providers.http.operators.http",
    "vendor's SDK": "segmind",
}
_EXAMPLE = "dags_examples/esrgan.py"

#: Runs in a new process: imports Airflow first, then the measured module.
_SCRIPT = """
import json, sys, time
import airflow.sdk
import airflow.sdk as sdk
[getattr(sdk, name) for name in ("BaseOperator", "DAG", "Param", "dag", "task")]
import importlib, pendulum, runpy
for module, name in json.loads(sys.argv[1]):
    getattr(importlib.import_module(module), name)
before = set(sys.modules)
start = time.perf_counter()
if sys.argv[2].endswith(".py"):
    runpy.run_path(sys.argv[2])
else:
    importlib.import_module(sys.argv[2])
print("FOUND" + json.dumps([time.perf_counter() - start, sorted(set(sys.modules) - before)]))
"""


class Cost(NamedTuple):
    """The cost of one import: seconds (the median) and the modules that it adds."""

    seconds: float
    added: list[str]

    @property
    def foreign(self) -> list[str]:
        """The added modules that are neither ours nor part of the namespace package."""
        return [name for name in self.added if name.partition(".")[0] != PACKAGE]


def run(quick: bool) -> Part:
    """Measure the operators of each contender, and one of our example DAG files."""
    times = 3 if quick else 9
    with airflow_home():
        baseline = taken_from_compat()
        costs = {name: cost(module, baseline, times) for name, module in PEERS.items()}
        example = cost(str(ROOT / _EXAMPLE), baseline, times)
    rows = [_row(name, "import", found) for name, found in costs.items()]
    rows.append(_row("ours", "parse an example DAG", example))
    foreign = costs["ours"].foreign
    return Part(
        name="parse",
        title="Import and parse",
        conditions=f"Medians of {times} fresh processes that had imported airflow.sdk, pendulum and the names that our "
        "modules take from airflow.providers.common.compat before, of importing "
        f"{', '.join(PEERS.values())}, and of running {_EXAMPLE}. Modules outside our package that ours adds: "
        f"{', '.join(foreign) or 'none'}.",
        rows=rows,
        ratios=[
            Ratio("modules outside our package that importing our operators adds", len(foreign), at_most=0),
            Ratio("import time, ours / HttpOperator", costs["ours"].seconds / costs["HttpOperator"].seconds),
        ],
    )


def cost(what: str, baseline: list[tuple[str, str]], times: int) -> Cost:
    """Import a module, or run a DAG file, in ``times`` new processes."""
    command = [sys.executable, "-c", _SCRIPT, json.dumps(baseline), what]
    found = []
    for _ in range(times):
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
        if done.returncode:
            raise RuntimeError(f"{what} cannot be imported: {done.stderr[-500:]}")
        found.append(json.loads(done.stdout.rpartition("FOUND")[2]))
    return Cost(median(seconds for seconds, _ in found), found[-1][1])


def taken_from_compat() -> list[tuple[str, str]]:
    """Return (module, name) of everything that our modules import from common.compat or Airflow."""
    taken = set()
    for path in (ROOT / PACKAGE).rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:  # not the imports in functions
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("airflow.providers.common.compat"):
                taken |= {(str(node.module), alias.name) for alias in node.names}
    return sorted(taken)


def _row(contender: str, setting: str, found: Cost) -> Row:
    return Row(
        contender,
        setting,
        {
            "time (ms)": 1000 * found.seconds,
            "modules added": len(found.added),
            "modules outside our package": len(found.foreign),
        },
    )
