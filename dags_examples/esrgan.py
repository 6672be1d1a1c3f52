"""
Upscale one picture with ESRGAN, and store it in a task of its own.

The first task submits the picture's URL and sleeps in the triggerer while Segmind computes: no worker is held. The
second streams the output into storage. They are two tasks so that a store that is down is tried again, or cleared,
without another upscale; Segmind keeps an output for days, but forgets the request after an hour.

Start it with other parameters for another picture. For storage other than local files, install its provider
(``pip install "airflow-provider-segmind[s3]"``) and name it in ``destination``: ``s3://my-bucket/upscaled/``.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import Param, dag

from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    params={
        "image": Param("https://www.segmind.com/butterfly.png", type="string", description="URL of the picture"),
        "scale": Param(2, type="integer", enum=[2, 4, 8], description="By how much"),
        "output_format": Param("jpeg", type="string", enum=["jpeg", "png", "webp"]),
        "quality": Param(95, type="integer", minimum=10, maximum=100, description="Quality of the output"),
        "destination": Param("file:///tmp/upscaled/esrgan/", type="string", description="Folder (with /) or object"),
    },
    tags=["segmind", "example"],
    doc_md=__doc__,
)
def segmind_esrgan() -> None:
    upscale = SegmindEsrganOperator(
        task_id="upscale",
        image="{{ params.image }}",
        scale="{{ params.scale }}",
        output_format="{{ params.output_format }}",
        quality="{{ params.quality }}",
        deferrable=True,
        retries=3,  # a retry attaches to the request that is running: it is paid for once
    )
    SegmindToObjectStorageOperator(
        task_id="store",
        result=upscale.output,  # the XCom: a small JSON object that names the output, never its bytes
        destination="{{ params.destination }}",
        retries=3,
    )


segmind_esrgan()
