"""Every kind of task that waits for a request, for the metrics and traces that it emits."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.sdk import DAG

from airflow_provider_segmind.operators.batch import SegmindBatchOperator
from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator, SegmindRunModelOperator
from airflow_provider_segmind.sensors.segmind import SegmindRequestSensor

IMAGES, OUT = os.environ["CHAOS_IMAGES"], os.environ["CHAOS_OUT"]

with DAG("chaos_telemetry", schedule=None, default_args={"retries": 2, "retry_delay": timedelta(seconds=1)}):
    for name, deferrable in (("deferrable", True), ("plain", False)):
        SegmindEsrganOperator(
            task_id=name,
            image=f"{IMAGES}/{name}.jpg",
            destination=f"file://{OUT}/{name}.jpg",
            deferrable=deferrable,
            poll_interval=1,
        )
    SegmindEsrganOperator(
        task_id="from_trigger",
        image=f"{IMAGES}/from_trigger.jpg",
        deferrable=True,
        end_from_trigger=True,
        poll_interval=1,
    )
    SegmindRunModelOperator(task_id="failing", model="failing", parameters={"prompt": "a cat"}, deferrable=True)
    submit = SegmindEsrganOperator(task_id="submit", image=f"{IMAGES}/submit.jpg", wait_for_completion=False)
    submit >> SegmindRequestSensor(
        task_id="sensor",
        request_id="{{ ti.xcom_pull('submit') }}",
        model="esrgan",
        mode="reschedule",
        poke_interval=3,
    )
    SegmindBatchOperator(
        task_id="batch",
        model="esrgan",
        items=[f"{IMAGES}/batch-{number}.jpg" for number in range(2)],
        destination=f"file://{OUT}/batch",
        poll_interval=1,
    )
