"""The retry policy that a task has when its author sets none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_segmind.compat import HAS_RETRY_POLICIES
from airflow_provider_segmind.retry_policy import SegmindRetryPolicy


def default_retry_policy(kwargs: Mapping[str, Any]) -> SegmindRetryPolicy | None:
    """
    Return our policy; None before Airflow 3.3, or where the author sets one, for the task or for the whole DAG.

    :param kwargs: the operator's keyword arguments, as Airflow passes them.
    """
    given = "retry_policy" in kwargs or "retry_policy" in (kwargs.get("default_args") or {})
    return SegmindRetryPolicy() if HAS_RETRY_POLICIES and not given else None
