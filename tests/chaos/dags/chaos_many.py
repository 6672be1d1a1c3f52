"""Many mapped tasks with one image each, for faults and rate limits."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator

IMAGES, OUT = os.environ["CHAOS_IMAGES"], os.environ["CHAOS_OUT"]

with DAG("chaos_many", schedule=None, params={"count": Param(3, type="integer")}):

    @task
    def names(params: dict[str, Any] | None = None, run_id: str | None = None) -> list[dict[str, str]]:
        """Return one image and one destination for each task."""
        return [
            {
                "image": f"{IMAGES}/{run_id}-{number}.jpg",
                "destination": f"file://{OUT}/{run_id}/{number}.jpg",
            }
            for number in range((params or {})["count"])
        ]

    SegmindEsrganOperator.partial(
        task_id="upscale",
        deferrable=True,
        timeout=900,
        # Enough for a gateway that is down for half a minute, and for a killed process. If the process is killed
        # between the intent and the response, a request that the history does not show was not accepted.
        retries=4,
        retry_delay=timedelta(seconds=15),
        on_lost_submit="resubmit",
    ).expand_kwargs(names())
