"""The operators, under their public names. Each is imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_segmind.lazy_imports import lazy_getattr

if TYPE_CHECKING:
    from airflow_provider_segmind.operators.batch import SegmindBatchOperator
    from airflow_provider_segmind.operators.credits import check_credits
    from airflow_provider_segmind.operators.run_model import SegmindRunModelOperator
    from airflow_provider_segmind.operators.upscale import (
        SegmindBriaIncreaseResolutionOperator,
        SegmindEsrganOperator,
        SegmindNomosUpscalerOperator,
    )
    from airflow_provider_segmind.operators.workflow import SegmindRunWorkflowOperator

__all__ = [
    "SegmindBatchOperator",
    "SegmindBriaIncreaseResolutionOperator",
    "SegmindEsrganOperator",
    "SegmindNomosUpscalerOperator",
    "SegmindRunModelOperator",
    "SegmindRunWorkflowOperator",
    "check_credits",
]

_HOMES = {
    "SegmindBatchOperator": "batch",
    "SegmindBriaIncreaseResolutionOperator": "upscale",
    "SegmindEsrganOperator": "upscale",
    "SegmindNomosUpscalerOperator": "upscale",
    "SegmindRunModelOperator": "run_model",
    "SegmindRunWorkflowOperator": "workflow",
    "check_credits": "credits",
}

__getattr__ = lazy_getattr("airflow_provider_segmind.operators", _HOMES)
