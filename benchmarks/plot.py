"""The figures of all parts in one image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.report import number
from benchmarks.results import Kept

#: Okabe and Ito's colours, which colour-blind people can distinguish: ours is blue, the others are not.
OURS, _OTHERS = "#0072B2", ("#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
_COLUMNS = 2
_PANEL = (7.0, 3.6)  # inches


def draw(kept: Kept, path: Path) -> None:
    """Draw a panel for each measured figure into a PNG file."""
    panels = [(part, title, paint) for part, title, paint in PANELS if part in kept]
    if not panels:  # such as after the first run of a part without a panel
        return
    lines = -(-len(panels) // _COLUMNS)
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(_COLUMNS * _PANEL[0], lines * _PANEL[1]), layout="constrained")
        for place, (part, title, paint) in enumerate(panels, 1):
            axes = figure.add_subplot(lines, _COLUMNS, place)
            axes.set_title(title, loc="left", fontweight="bold")
            paint(axes, kept[part])
        figure.savefig(path, dpi=90, metadata={"Software": None})


Paint = Callable[[Axes, dict[str, Any]], None]


def _bars(column: str, *, log: bool = False, ours: tuple[str, ...] = ("ours",)) -> Paint:
    """Draw one column as horizontal bars, with the contenders whose names begin with one of ``ours`` in blue."""

    def paint(axes: Axes, part: dict[str, Any]) -> None:
        rows = [row for row in part["rows"] if row["figures"].get(column) is not None]
        settings = {row["setting"] for row in rows}
        names = [row["contender"] + (f", {row['setting']}" if len(settings) > 1 else "") for row in rows]
        values = [row["figures"][column] for row in rows]
        colours = [OURS if row["contender"].startswith(ours) else "#BBBBBB" for row in rows]
        bars = axes.barh(range(len(rows)), values, color=colours, log=log)
        axes.bar_label(bars, [number(value) for value in values], padding=3)
        axes.set_yticks(range(len(rows)), names)
        axes.invert_yaxis()
        axes.margins(x=0.12)
        axes.set_xlabel(column + (", logarithmic" if log else ""))

    return paint


def _delays(axes: Axes, part: dict[str, Any]) -> None:
    """Draw for each contender the share of its jobs that was reported within a delay."""
    curves = {name.removeprefix("delay (%), "): values for name, values in part["series"].items()}
    others = iter(_OTHERS * 2)
    for number_, (name, values) in enumerate(curves.items()):
        mine = name.startswith("ours")
        style = ("-", "--", ":", "-.")[number_ % 4]
        shares = [100 * place / (len(values) - 1) for place in range(len(values))]
        axes.plot(values, shares, style, color=OURS if mine else next(others), label=name, linewidth=2 if mine else 1.4)
    axes.set_xlim(0, None)
    axes.set_ylim(0, 100)
    axes.set_xlabel("delay, % of the job's own time")
    axes.set_ylabel("jobs (%)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower right")


#: Part, title, function that draws it.
PANELS: tuple[tuple[str, str, Paint], ...] = (
    ("wait", "A wait of 12 s: CPU", _bars("CPU per job (ms)", log=True)),
    ("wait", "A wait of 12 s: polls", _bars("polls per job")),
    ("wait", "From completion to event", _delays),
    ("wait", "Worst block of the event loop", _bars("worst block (ms)", log=True)),
    ("end-to-end", "A DAG run on a whole Airflow: wall time", _bars("wall (s)")),
    ("end-to-end", "A DAG run on a whole Airflow: worker slots held", _bars("worker-slot seconds", log=True)),
    ("download", "Storing a large output", _bars("speed (MB/s)", ours=("hook", "store_result"))),
    ("transport", "One poll: CPU by transport", _bars("CPU per GET (ms)", log=True, ours=("aiohttp, pool of 32",))),
    ("parse", "Import in the DAG processor", _bars("time (ms)")),
)
