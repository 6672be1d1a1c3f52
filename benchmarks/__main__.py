"""``make bench``: run the comparisons, each part in its own process."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import results
from benchmarks.isolated import in_fresh_process
from benchmarks.parts import PARTS, measure
from benchmarks.report import show

FOLDER = Path(__file__).parent / "results"
#: Minimum width in columns at which the tables can be read.
_WIDTH = 150


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; return 1 if one fails or a ratio does not hold."""
    command = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    command.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)")
    command.add_argument("--quick", action="store_true", help="small and rough; stored apart from the full figures")
    options = command.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        command.error(f"unknown: {', '.join(sorted(unknown))} (known: {', '.join(PARTS)})")
    console = Console()
    console = Console(width=max(console.width, _WIDTH))
    outcomes = [_run(console, name, quick=options.quick) for name in options.parts or PARTS]
    return int(not all(outcomes))


def _run(console: Console, name: str, *, quick: bool) -> bool:
    """Run one part, show and store its figures; return whether all ratios hold."""
    console.print(f"[bold]{name}[/] …")
    try:
        part = in_fresh_process(measure, name, quick)
    except Exception:  # noqa: BLE001  the other parts continue
        console.print(f"[red]{name} failed:[/]")
        console.print(traceback.format_exc(), markup=False, highlight=False)
        return False
    show(console, part)
    kept = results.keep(FOLDER / ("quick.json" if quick else "latest.json"), name, part)
    from benchmarks.plot import draw

    draw(kept, FOLDER / ("quick.png" if quick else "latest.png"))
    return all(ratio.holds for ratio in part.ratios)


if __name__ == "__main__":
    sys.exit(main())
