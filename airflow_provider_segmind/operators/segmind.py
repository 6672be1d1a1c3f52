"""The operators, under their public names. Each is imported when it is asked for: task processes pay for imports."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"airflow_provider_segmind.operators.{_HOMES[name]}"), name)
