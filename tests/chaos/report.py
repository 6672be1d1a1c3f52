"""
Run the chaos tests and write their measurements into docs/reliability.md.

    python -m tests.chaos.report                 run all tests (about ten minutes), then write
    python -m tests.chaos.report --from FILE     write the file of an earlier run (CHAOS_REPORT=FILE pytest tests/chaos)
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.chaos.cases import CASES, COMPARED

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"

Rows = list[dict[str, Any]]


def table(head: list[str], rows: list[list[Any]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def kills(rows: Rows) -> str:
    """Return a table with one line for each case, and both modes side by side."""
    lines = []
    order = {case.description: number for number, case in enumerate(CASES)}
    for case in sorted(dict.fromkeys(row["case"] for row in rows), key=lambda case: order.get(case, len(order))):
        modes = {row["mode"]: row for row in rows if row["case"] == case}
        cells = [case]
        for mode in ("deferrable", "plain"):
            row = modes.get(mode)
            cells += [row["tries"], row["submits"], row["object"]] if row else ["-"] * 3
        lines.append(cells)
    head = ["The process dies …", "tries", "submits", "object", "tries (plain)", "submits (plain)", "object (plain)"]
    return table(head, lines)


def batches(rows: Rows) -> str:
    """Return a table with one line for each place at which a batch was killed."""
    head = ["The process dies …", "tries", "submits of each image", "objects"]
    return table(head, [[row["case"], row["tries"], row["submits"], row["object"]] for row in rows])


def compared(peers: Rows, ours: Rows) -> str:
    """Return a table of the same kills for three implementations."""
    descriptions = {case.name: case.description for case in CASES}
    lines, total = [], [0, 0, 0]
    for name, (text, our_case) in COMPARED.items():
        submits = [row["submits"] for row in ours if row["case"] == descriptions[our_case]]
        theirs = {row["peer"]: row["submits"] for row in peers if row["case"] == name}
        cells = [max(submits), theirs["sdk"], theirs["http"]]
        total = [sum(pair) for pair in zip(total, cells, strict=True)]
        lines.append([text, *cells])
    lines.append([f"**billed for {len(COMPARED)} images**", *(f"**{number}**" for number in total)])
    head = ["The process dies …", "this provider", "the SDK in a `@task`", "`HttpOperator` + `HttpSensor`"]
    return table(head, lines)


def crowd(rows: Rows) -> str:
    """Return a table of one run of many tasks, with a line for each figure."""
    return table(["", "measured"], [[key, value] for key, value in rows[-1].items()])


def runs(rows: Rows) -> str:
    """Return a table of several runs, with a column for each."""
    names = [name for name in rows[0] if name != "run"]
    return table(["", *(f"{row['run']} run" for row in rows)], [[name, *(row[name] for row in rows)] for name in names])


def recoveries(rows: Rows) -> str:
    """Return a table with a line for each event in the cluster."""
    head = ["What was done", "Over when", "Seconds"]
    return table(head, [[row["what"], row["over when"], row["seconds"]] for row in rows])


def write(tables: dict[str, Rows]) -> None:
    """Replace each measured table between its marks; keep the others."""
    text = PAGE.read_text()
    drawn = {
        "kills": lambda: kills(tables["kills"]),
        "batch kills": lambda: batches(tables["batch kills"]),
        "peers": lambda: compared(tables["peers"], tables["kills"]),
        "kill storm": lambda: runs(tables["kill storm"]),
        "storm": lambda: crowd(tables["storm"]),
        "cluster": lambda: recoveries(tables["cluster"]),
        "cluster run": lambda: crowd(tables["cluster run"]),
        "rate limit": lambda: crowd(tables["rate limit"]),
    }
    for name, draw in drawn.items():
        if name not in tables:
            continue
        start, end = f"<!-- measured: {name} -->", f"<!-- end: {name} -->"
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"{PAGE} has no marks for the table {name}")
        text = pattern.sub(f"{start}\n\n{draw()}\n\n{end}".replace("\\", r"\\"), text)
    PAGE.write_text(text)


def main() -> int:
    """Run the command."""
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--from", dest="source", type=Path, help="file of an earlier run, instead of a run")
    source: Path | None = command.parse_args().source
    code = 0
    with tempfile.TemporaryDirectory() as folder:
        if source is None:
            source = Path(folder) / "measured.json"
            run = [sys.executable, "-m", "pytest", "tests/chaos", "-m", ""]  # the cluster, too
            code = subprocess.run(run, cwd=ROOT, env=os.environ | {"CHAOS_REPORT": str(source)}, check=False).returncode
        if code == 0:
            write(json.loads(source.read_text()))
    return code


if __name__ == "__main__":
    sys.exit(main())
