"""Every path on which a key could leak: the emulator and the host beside it try to obtain it from each task."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_segmind.operators.segmind import (
    SegmindBriaIncreaseResolutionOperator,
    SegmindEsrganOperator,
    SegmindRunModelOperator,
)
from tests.chaos.leaks import MODES, SCENARIOS

IMAGES, OUT = os.environ["CHAOS_IMAGES"], os.environ["CHAOS_OUT"]

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
    for scenario in SCENARIOS:
        for mode in MODES:
            SegmindRunModelOperator(
                task_id=f"{scenario}_{mode}",
                model=f"{scenario}-{mode}",
                parameters={"prompt": "{{ run_id }}"},
                deferrable=mode == "deferrable",
                poll_interval=1,
                lost_submit_wait=2,
            )
