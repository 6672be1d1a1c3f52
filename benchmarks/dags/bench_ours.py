"""This provider, as a user writes it: one deferrable operator, mapped over the images."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator

COUNTS = [int(count) for count in os.environ["BENCH_COUNTS"].split(",")]
IMAGES = os.environ["BENCH_IMAGES"]

for count in COUNTS:
    images = [f"{IMAGES}/{number}.jpg" for number in range(count)]

    with DAG(f"ours_{count}", schedule=None):
        SegmindEsrganOperator.partial(task_id="upscale", deferrable=True).expand(image=images)

    with DAG(f"ours_from_trigger_{count}", schedule=None):
        SegmindEsrganOperator.partial(task_id="upscale", deferrable=True, end_from_trigger=True).expand(image=images)
