"""What an operator tells of what it made: asset events, hook lineage, OpenLineage. The table: docs/emitted.md."""

from __future__ import annotations

from airflow_provider_segmind.lineage.addresses import urls_in
from airflow_provider_segmind.lineage.assets import check_count, check_outlets
from airflow_provider_segmind.lineage.made import Made, made_of, manifest
from airflow_provider_segmind.lineage.tells import TellsLineage

__all__ = ["Made", "TellsLineage", "check_count", "check_outlets", "made_of", "manifest", "urls_in"]
