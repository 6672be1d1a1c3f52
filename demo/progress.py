"""Progress on the console: one bar per model, with the number of its tasks in each state."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from demo.api import MODELS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from rich.console import Console

#: Airflow's state of a task -> the label on the console.
_LABELS = {"running": "running", "deferred": "deferred", "success": "done", "failed": "failed"}


def count(instances: Sequence[dict[str, Any]], model: str) -> Counter[str]:
    """Count the mapped tasks of one model by label; every state before "running" counts as "queued"."""
    return Counter(
        _LABELS.get(ti["state"] or "", "queued") for ti in instances if ti["task_id"] == model and ti["map_index"] >= 0
    )


class Board:
    """Live bars on a terminal; elsewhere one line for each change."""

    def __init__(self, console: Console, images: int) -> None:
        self._console = console
        self._last = ""
        self._progress = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[states]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bars: dict[str, TaskID] = {
            model: self._progress.add_task(model, total=images, states="") for model in MODELS
        }

    def show(self, instances: Sequence[dict[str, Any]]) -> None:
        """Show the current state of every task."""
        lines = []
        for model, bar in self._bars.items():
            counts = count(instances, model)
            text = "  ".join(f"{label} {counts[label]}" for label in ("queued", *_LABELS.values()) if counts[label])
            self._progress.update(bar, completed=counts["done"], states=text)
            lines.append(f"{model}: {text or 'waiting'}")
        line = " | ".join(lines)
        if not self._console.is_terminal and line != self._last:
            self._console.print(line, highlight=False, soft_wrap=True)
        self._last = line

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()
