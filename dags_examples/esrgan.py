"""
Upscale one image with ESRGAN, and store the output in a second task.

``upscale`` submits the image's URL and waits in the triggerer while Segmind computes, so it holds no worker slot.
``store`` streams the output into storage. With two tasks, you can retry or clear ``store`` without another upscale,
for example after the storage was unavailable. Segmind keeps an output for days, but the record of a request for one
hour.

``destination`` can be in any storage of Airflow's ``ObjectStoragePath``. Install the provider of that storage, for
example ``pip install "airflow-provider-segmind[s3]"`` for ``s3://my-bucket/upscaled/``.

Set up: the connection ``segmind_default`` with your API key. To run the DAG offline and without a key, start
``python -m airflow_provider_segmind.emulator``, use its address as the connection's host and the key that it prints
as the password, and set ``image`` to the URL of a sample image that the emulator prints.
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
        "image": Param("https://www.segmind.com/butterfly.png", type="string", description="URL of the image"),
        "scale": Param(2, type="integer", enum=[2, 4, 8], description="Factor of the enlargement"),
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
        retries=3,  # a retry reattaches to the running request: it is billed once
    )
    SegmindToObjectStorageOperator(
        task_id="store",
        result=upscale.output,  # the XCom: a small JSON object with the output's URL, never its bytes
        destination="{{ params.destination }}",
        retries=3,
    )


segmind_esrgan()
