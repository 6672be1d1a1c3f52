"""Emit the lineage of a task, in the process that ends the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.lineage.assets import add_events, report_to_hook_lineage

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.lineage.task_lineage import TaskLineage


def emit(context: Context, hook: SegmindHook, outlets: Sequence[Any], lineage: TaskLineage) -> None:
    """
    Emit asset events and hook lineage.

    Call this in the process that ends the task: Airflow sends the events when that process reports the success.

    :param context: of the task.
    :param hook: the hook that hook lineage names.
    :param outlets: of the task.
    :param lineage: of the task.
    """
    add_events(context, outlets, lineage)
    report_to_hook_lineage(hook, lineage)


def openlineage_facets(lineage: TaskLineage) -> OperatorLineage[Any, Any]:
    """
    Return inputs, outputs and the request of a task for OpenLineage's listener.

    The listener also asks after a failure. Then there are no outputs, but perhaps a request.

    :param lineage: of the task, as far as it is known.
    """
    from airflow_provider_segmind.lineage.openlineage import operator_lineage

    return operator_lineage(lineage)
