"""What the work of a task needs from Airflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_segmind.execution.instance import Instance
from airflow_provider_segmind.execution.ports import Clock

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_segmind.execution.store import TaskStateRecords
    from airflow_provider_segmind.hooks.segmind import SegmindHook


class RecordsOf(Protocol):
    """Return the request records of a task instance."""

    def __call__(self, *, durable: bool, batch: bool = False) -> TaskStateRecords:
        """Return the request records of this task instance."""


@dataclass(frozen=True)
class TaskEnvironment:
    """
    What the work of a task needs from Airflow.

    :param hook: the connection.
    :param instance: the task instance.
    :param records: returns its request records: ``records(durable=…, batch=…)``.
    :param claim: claims a target for this mapped instance; raises SegmindConfigError if another one has it.
    :param is_working: returns whether another task instance may still work; None if that is not known.
    :param push: pushes an XCom, unless the task pushes none.
    :param clock: the time, and how to wait.
    :param serves_previews: previews are written.
    :param execution_timeout: Airflow's limit for the whole task (seconds); None for no limit.
    """

    hook: SegmindHook
    instance: Instance
    records: RecordsOf
    claim: Callable[[ObjectStoragePath], None]
    is_working: Callable[[Mapping[str, Any]], bool | None]
    push: Callable[[str, Any], None]
    clock: Clock
    serves_previews: bool = False
    execution_timeout: float | None = None
