"""Asset events and hook lineage, emitted in the process that ends the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.lineage.assets import add_events, report

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.lineage.task_lineage import TaskLineage


def emit(context: Context, hook: SegmindHook, outlets: Sequence[Any], lineage: TaskLineage) -> None:
    """
    Emit the asset events and the hook lineage of a task.

    Nothing is taken from before a deferral but what is rendered again, or came back in the event.

    :param hook: of its connection.
    :param outlets: of the task.
    :param lineage: what the task made of what.
    """
    add_events(context, outlets, lineage)
    report(hook, lineage)
