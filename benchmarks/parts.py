"""The parts by name. Each is imported only in the process that runs it."""

from __future__ import annotations

import importlib

from benchmarks.figures import Part

#: Name on the command line -> module with ``run(quick) -> Part``.
PARTS = {
    "schedule": "benchmarks.schedule",
    "wait": "benchmarks.wait",
    "transport": "benchmarks.transport",
    "download": "benchmarks.download",
    "parse": "benchmarks.parse",
    "batch": "benchmarks.batch",
    "end-to-end": "benchmarks.end_to_end",
}


def measure(name: str, quick: bool) -> Part:
    """Run one part in this process."""
    part: Part = importlib.import_module(PARTS[name]).run(quick)
    return part
