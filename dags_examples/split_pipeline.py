"""
Submit, wait and store in three tasks, for a list of images.

One task of an upscaling operator does all three steps, which is right for most pipelines. Split them if the steps
have different owners or different retries. ``submit`` returns request ids only. ``wait`` waits for each request in
the triggerer. ``store`` streams the outputs into storage. ``wait`` and ``store`` bill nothing: clear them as often as
you like.

Another DAG needs only the request id to continue: pass it as a parameter of the run. Segmind keeps the record of a
request for one hour. After that, the sensor reads the output's URL from the request history, which keeps it longer.

Set up: the connection ``segmind_default`` with your API key. To run the DAG offline and without a key, start
``python -m airflow_provider_segmind.emulator``, use its address as the connection's host and the key that it prints
as the password, and set ``images`` to URLs of sample images that the emulator prints.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator
from airflow_provider_segmind.sensors.segmind import SegmindRequestSensor
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    params={
        "images": Param(["https://www.segmind.com/butterfly.png"], type="array", description="URLs of the images"),
        "destination": Param("file:///tmp/upscaled/split/", type="string", description="Folder (with /)"),
    },
    default_args={"retries": 3},
    tags=["segmind", "example"],
    doc_md=__doc__,
)
def segmind_split_pipeline() -> None:
    @task
    def list_images(**context: Any) -> list[str]:
        """Return the run's images; their order is the map index."""
        return list(context["params"]["images"])

    submit = SegmindEsrganOperator.partial(
        task_id="submit",
        output_format="png",
        wait_for_completion=False,  # returns the request id
    ).expand(image=list_images())

    wait = SegmindRequestSensor.partial(
        task_id="wait",
        model="esrgan",
        deferrable=True,
    ).expand(request_id=submit.output)

    SegmindToObjectStorageOperator.partial(
        task_id="store",
        destination="{{ params.destination }}",
    ).expand(result=wait.output)


segmind_split_pipeline()
