"""Every path on which a key could get out: the emulator and the hosts beside it try to make each task tell it."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_segmind.operators.segmind import (
    SegmindBriaIncreaseResolutionOperator,
    SegmindEsrganOperator,
    SegmindRunModelOperator,
)
from tests.chaos.leaks import MODES, STORIES

IMAGES, OUT = os.environ["CHAOS_PICTURES"], os.environ["CHAOS_OUT"]

with DAG("chaos_key", schedule=None, default_args={"retries": 1, "retry_delay": timedelta(seconds=1)}):
    SegmindEsrganOperator(
        task_id="foreign_addresses",
        image=f"{IMAGES}/foreign.jpg",
        destination=f"file://{OUT}/foreign.jpg",
        deferrable=True,
        poll_interval=1,
    )
    SegmindBriaIncreaseResolutionOperator(
        task_id="private_output",
        image=f"{IMAGES}/private.jpg",
        destination=f"file://{OUT}/private.jpg",
        deferrable=True,
        poll_interval=1,
        retries=0,
    )
    for story in STORIES:
        for mode in MODES:
            SegmindRunModelOperator(
                task_id=f"{story}_{mode}",
                model=f"{story}-{mode}",
                parameters={"prompt": "{{ run_id }}"},
                deferrable=mode == "deferrable",
                poll_interval=1,
                lost_submit_wait=2,
            )
