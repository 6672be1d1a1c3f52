"""Mapped images with the operator's default arguments; only the retries and their delay are set."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG

from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator

IMAGES, OUT = os.environ["CHAOS_IMAGES"], os.environ["CHAOS_OUT"]


def begins(context: Any) -> None:
    """Create a mark that this process runs the operator, so that it may be killed from now on."""
    Path(os.environ["CHAOS_MARKS"], f"{os.getpid()}.begun").touch()


with DAG(
    "chaos_kill_storm",
    schedule=None,
    default_args={"retries": 30, "retry_delay": timedelta(seconds=2), "on_execute_callback": begins},
):
    SegmindEsrganOperator.partial(
        task_id="upscale",
        destination=f"file://{OUT}/{{{{ run_id }}}}/",
        deferrable=True,
    ).expand(image=[f"{IMAGES}/{{{{ run_id }}}}-{number}.jpg" for number in range(20)])
