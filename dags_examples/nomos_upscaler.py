"""
Upscale one photo with Nomos Image Upscaler 4k, and store the output in the same task.

With ``destination=`` one task does everything. It submits the photo's URL and waits in the triggerer while Segmind
computes. Then it downloads the output, verifies that it is a complete image and stores it. The result has the stored
object (``stored``), its cost and its duration (``metrics``). ``report`` logs them.

Set up: the connection ``segmind_default`` with your API key. To run the DAG offline and without a key, start
``python -m airflow_provider_segmind.emulator``, use its address as the connection's host and the key that it prints
as the password, and set ``image`` to the URL of a sample image that the emulator prints.
"""

from __future__ import annotations

import logging
from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_segmind.operators.segmind import SegmindNomosUpscalerOperator

log = logging.getLogger(__name__)


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    params={
        "image": Param(
            "https://segmind-resources.s3.amazonaws.com/input/557ae4e3-8057-4668-bf41-ff836d0f73b0-test_upscale_1234142.jpg",
            type="string",
            description="URL of the photo",
        ),
        "image_format": Param("png", type="string", enum=["png", "jpg", "jpeg", "webp"]),
        "image_quality": Param(95, type="integer", minimum=1, maximum=100, description="Quality of the output"),
        "destination": Param("file:///tmp/upscaled/nomos/", type="string", description="Folder (with /) or object"),
    },
    tags=["segmind", "example"],
    doc_md=__doc__,
)
def segmind_nomos_upscaler() -> None:
    @task
    def report(result: Any) -> None:
        """Log the stored object, its cost and its duration."""
        [stored], metrics = result["stored"], result["metrics"]
        log.info(
            "%s: %s x %s pixels for %s credits in %s s",
            stored["uri"],
            stored["width"],
            stored["height"],
            metrics["cost"],
            metrics["total_time"],
        )

    upscale = SegmindNomosUpscalerOperator(
        task_id="upscale",
        image="{{ params.image }}",
        image_format="{{ params.image_format }}",
        image_quality="{{ params.image_quality }}",
        destination="{{ params.destination }}",
        deferrable=True,
        retries=3,  # a retry reattaches to the running request: it is billed once
    )
    report(upscale.output)


segmind_nomos_upscaler()
