"""Many pictures in one task, beside one task for each; both store what comes out."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_segmind.operators.segmind import SegmindBatchOperator, SegmindEsrganOperator

#: The largest number is for the batch alone.
*MAPPED, LARGEST = [int(count) for count in os.environ["BENCH_COUNTS"].split(",")]
IMAGES, OUT = os.environ["BENCH_PICTURES"], os.environ["BENCH_OUT"]
#: Segmind's limits are per key; this is one of an Enterprise contract.
REQUESTS_PER_MINUTE = 1200


def images(count: int) -> list[str]:
    """So many addresses of pictures."""
    return [f"{IMAGES}/{number}.jpg" for number in range(count)]


for count in MAPPED:
    with DAG(f"stored_{count}", schedule=None):
        SegmindEsrganOperator.partial(
            task_id="upscale", destination=f"{OUT}/mapped/{{{{ run_id }}}}/", deferrable=True
        ).expand(image=images(count))

for count in (*MAPPED, LARGEST):
    with DAG(f"batch_{count}", schedule=None):
        SegmindBatchOperator(
            task_id="upscale",
            model="esrgan",
            items=[{"image": image, "scale": 2} for image in images(count)],
            destination=f"{OUT}/batch/{{{{ run_id }}}}/",
            requests_per_minute=REQUESTS_PER_MINUTE,
        )
