"""The operators, under their public names."""

from __future__ import annotations

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
