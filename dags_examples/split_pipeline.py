"""
Submit, wait and store in three tasks, for a list of pictures.

The upscaling operators do all three in one task, which is right for most pipelines. Split it where the steps have
different owners or different retries: ``submit`` hands on nothing but request ids, ``wait`` waits for each of them
without a worker, ``store`` streams the outputs into storage. ``wait`` and ``store`` bill nothing: clear them as often
as you like. A request id is all that another DAG needs, too: pass it on as a parameter of the run. Segmind keeps the
record of a request for one hour; after that the sensor looks into the request history, which knows the output for
longer.
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
        "images": Param(["https://www.segmind.com/butterfly.png"], type="array", description="URLs of the pictures"),
        "destination": Param("file:///tmp/upscaled/split/", type="string", description="Folder (with /)"),
    },
    default_args={"retries": 3},
    tags=["segmind", "example"],
    doc_md=__doc__,
)
def segmind_split_pipeline() -> None:
    @task
    def list_images(**context: Any) -> list[str]:
        """Return the run's pictures; their order is the map index."""
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
