"""The mixin of the operators that tell what they made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.lineage.assets import add_events, report
from airflow_provider_segmind.lineage.task_lineage import TaskLineage, task_lineage

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_segmind.hooks.segmind import SegmindHook


class EmitsLineage:
    """
    Asset events, hook lineage and OpenLineage of an operator, told in the process that ends the task.

    Nothing is taken from before a deferral but what is rendered again, or came back in the event.
    """

    outlets: list[Any]
    made: TaskLineage | None = None

    def task_lineage(self, value: Mapping[str, Any]) -> TaskLineage:
        """Return what the task made; ``value`` is what it hands on, or as much of it as is known."""
        return task_lineage(value, {})

    def emit(self, context: Context, hook: SegmindHook, made: TaskLineage) -> None:
        """Emit asset events and hook lineage, and keep what was made for OpenLineage's listener."""
        self.made = made
        add_events(context, self.outlets, made)
        report(hook, made)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """
        Return inputs, outputs, and what is known of the request, for OpenLineage's listener.

        Called after a failure, too: then there are no outputs, but perhaps a request.
        """
        from airflow_provider_segmind.lineage.openlineage import lineage_of

        known = {name: getattr(self, name, None) for name in ("model", "request_id")}
        return lineage_of(self.made or self.task_lineage(known))
