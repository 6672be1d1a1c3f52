"""
Upscale one photo with Nomos Image Upscaler 4k, and store it in the same task.

With ``destination=``, one task does it all: it submits, sleeps in the triggerer while Segmind computes, then fetches
the output, proves that it is a whole picture and publishes it. What the task returns tells where it lies
(``stored``), what it cost and how long it took (``metrics``); ``report`` logs that.

Start it with other parameters for another photo: any URL that Segmind can read.
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
        """Log where the picture is and what it took."""
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
        retries=3,  # a retry attaches to the request that is running: it is paid for once
    )
    report(upscale.output)


segmind_nomos_upscaler()
