"""Lineage of a task: asset events, hook lineage and OpenLineage. The table of what is emitted: docs/emitted.md."""

from __future__ import annotations

from airflow_provider_segmind.lineage.addresses import urls_in
from airflow_provider_segmind.lineage.assets import check_count, check_outlets
from airflow_provider_segmind.lineage.emit import emit, openlineage_facets
from airflow_provider_segmind.lineage.task_lineage import TaskLineage, object_details, task_lineage

__all__ = [
    "TaskLineage",
    "check_count",
    "check_outlets",
    "emit",
    "object_details",
    "openlineage_facets",
    "task_lineage",
    "urls_in",
]
