"""What an operator tells of what it made: asset events, hook lineage, OpenLineage. The table: docs/emitted.md."""

from __future__ import annotations

from airflow_provider_segmind.lineage.addresses import urls_in
from airflow_provider_segmind.lineage.assets import check_count, check_outlets
from airflow_provider_segmind.lineage.emit import emit
from airflow_provider_segmind.lineage.task_lineage import TaskLineage, manifest, task_lineage

__all__ = ["TaskLineage", "check_count", "check_outlets", "emit", "manifest", "task_lineage", "urls_in"]
