"""Show a part as tables: first the ratios, then the figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from benchmarks.figures import Part, Ratio, Row


def show(console: Console, part: Part) -> None:
    """Print one part."""
    console.print(f"\n[bold]{escape(part.title)}")
    if part.ratios:
        console.print(ratios(part.ratios))
    console.print(rows(part.rows))
    console.print(Padding(escape(part.conditions), (0, 1, 1, 1)), style="dim", highlight=False)


def ratios(found: Iterable[Ratio]) -> Table:
    """Return a table of the ratios and whether they hold."""
    table = Table("Ratio or figure", box=SIMPLE_HEAD, show_edge=False)
    table.add_column("measured", justify="right")
    table.add_column("limit", justify="right")
    table.add_column("")
    for ratio in found:
        limits = [f"≥ {ratio.at_least:g}"] if ratio.at_least is not None else []
        limits += [f"≤ {ratio.at_most:g}"] if ratio.at_most is not None else []
        verdict = ("[green]holds" if ratio.holds else "[bold red]does not hold") if limits else ""
        table.add_row(escape(ratio.name), number(ratio.value), ", ".join(limits), verdict)
    return table


def rows(found: Sequence[Row]) -> Table:
    """Return a table of the figures, with the contenders as columns if that is narrower."""
    columns = list(dict.fromkeys(column for row in found for column in row.figures))
    if len(columns) > len(found):
        table = Table("", box=SIMPLE_HEAD, show_edge=False)
        for row in found:
            table.add_column(escape(f"{row.contender}\n{row.setting}"), justify="right")
        for name in columns:
            table.add_row(escape(name), *(number(row.figures.get(name)) for row in found))
        return table
    table = Table("Contender", "Setting", box=SIMPLE_HEAD, show_edge=False)
    for name in columns:
        table.add_column(escape(name), justify="right")
    for row in found:
        table.add_row(escape(row.contender), escape(row.setting), *(number(row.figures.get(name)) for name in columns))
    return table


def number(value: float | None) -> str:
    """Return a figure with its significant digits."""
    if value is None:
        return "-"
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
