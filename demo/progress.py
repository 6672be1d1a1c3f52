"""Progress on the console: one bar per model, and how many of its tasks are where."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from demo.api import MODELS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from rich.console import Console

#: What Airflow calls it -> what people read.
_WORDS = {"running": "running", "deferred": "deferred", "success": "done", "failed": "failed"}


def count(instances: Sequence[dict[str, Any]], model: str) -> Counter[str]:
    """Count one model's mapped tasks by what they do; everything before they run is "queued"."""
    return Counter(
        _WORDS.get(ti["state"] or "", "queued") for ti in instances if ti["task_id"] == model and ti["map_index"] >= 0
    )


class Board:
    """Live bars on a terminal; elsewhere a line whenever something has changed."""

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
        """Show where every task is now."""
        lines = []
        for model, bar in self._bars.items():
            counts = count(instances, model)
            text = "  ".join(f"{word} {counts[word]}" for word in ("queued", *_WORDS.values()) if counts[word])
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
