"""The task instance that a run works for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Instance:
    """
    One task instance in one try.

    :param map_index: -1 if the task is not mapped.
    :param ran_before: an earlier process of it may have submitted.
    :param began_at: when its DAG run was due (epoch seconds): no try submitted before; None if that is not known.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1
    try_number: int = 1
    ran_before: bool = False
    began_at: float | None = None

    @property
    def owner(self) -> str:
        """The task instance, whatever its try, as text."""
        return f"{self.dag_id} {self.run_id} {self.task_id} {self.map_index}"

    @property
    def file_name(self) -> str:
        """A name for this task instance's file: the task id and, where it is mapped, the map index."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}_{self.map_index}"

    def named(self) -> dict[str, Any]:
        """Return what a sidecar states of the task."""
        names = ("dag_id", "run_id", "task_id", "map_index", "try_number")
        return {name: value for name, value in asdict(self).items() if name in names}
