"""Many images in one task, and one task for each image; both store their outputs."""

from __future__ import annotations

import os

from airflow.sdk import DAG

from airflow_provider_segmind.operators.segmind import SegmindBatchOperator, SegmindEsrganOperator

#: The largest number is only for the batch.
*MAPPED, LARGEST = [int(count) for count in os.environ["BENCH_COUNTS"].split(",")]
IMAGES, OUT = os.environ["BENCH_IMAGES"], os.environ["BENCH_OUT"]
#: Segmind's limits are per key; this is one of an Enterprise contract.
REQUESTS_PER_MINUTE = 1200


def images(count: int) -> list[str]:
    """Return this many URLs of images."""
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
