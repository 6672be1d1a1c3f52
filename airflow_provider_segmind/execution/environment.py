"""The task instance that a run works for, and what its work needs from Airflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from airflow_provider_segmind.execution.store import TaskStateRecords
    from airflow_provider_segmind.hooks.segmind import SegmindHook


@dataclass(frozen=True)
class Instance:
    """
    One task instance in one try.

    :param map_index: -1 where the task is not mapped.
    :param ran_before: an earlier process of it may have submitted.
    :param began_at: when its DAG run was due (epoch seconds): no try submitted before; None where that is not known.
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


class RecordsOf(Protocol):
    """Return the request records of a task instance."""

    def __call__(self, *, durable: bool, batch: bool = False) -> TaskStateRecords:
        """See :class:`.TaskStateRecords`."""


@dataclass(frozen=True)
class TaskEnvironment:
    """
    What the work of a task needs from Airflow.

    :param hook: the connection.
    :param instance: the task instance.
    :param records: returns its request records: ``records(durable=…, batch=…)``.
    :param claim: claims a target for this mapped instance; raises SegmindConfigError if another one has it.
    :param is_working: returns whether another task instance may still work; None where that is not known.
    :param push: pushes an XCom, unless the task pushes none.
    :param serves_previews: previews are written.
    :param execution_timeout: Airflow's limit for the whole task (seconds); None for no limit.
    """

    hook: SegmindHook
    instance: Instance
    records: RecordsOf
    claim: Callable[[str], None]
    is_working: Callable[[Mapping[str, Any]], bool | None]
    push: Callable[[str, Any], None]
    serves_previews: bool = False
    execution_timeout: float | None = None
