"""
Upscale a folder of images with all three models, and store the outputs.

The first task lists the folder, so each image becomes one mapped task of each model. A task uploads its image,
submits one request, waits in the triggerer while Segmind computes, and stores the output in ``destination/<model>/``.

Set up: the connection ``segmind_default`` with your API key, and a folder of images as ``source``. ``source`` and
``destination`` can be in any storage of Airflow's ``ObjectStoragePath`` (``file://``, ``s3://``, ``gs://``). To run
the DAG offline and without a key, start ``python -m airflow_provider_segmind.emulator`` and use its address as the
connection's host and the key that it prints as the password.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_segmind.operators.segmind import (
    SegmindBriaIncreaseResolutionOperator,
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
)
from airflow_provider_segmind.storage import list_images


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    params={
        "source": Param("file:///tmp/images", type="string", description="Folder of images"),
        "destination": Param("file:///tmp/upscaled", type="string", description="Folder for the outputs"),
    },
    default_args={"retries": 3},  # a retry reattaches to the running request: it is billed once
    tags=["segmind", "example"],
    doc_md=__doc__,
)
def segmind_upscale_folder() -> None:
    images = task(list_images)("{{ params.source }}")

    SegmindEsrganOperator.partial(
        task_id="esrgan",
        scale=2,
        output_format="png",
        destination="{{ params.destination }}/esrgan/",
        deferrable=True,
        map_index_template="{{ task.input_path.rsplit('/', 1)[-1] }}",
    ).expand(input_path=images)

    SegmindNomosUpscalerOperator.partial(
        task_id="nomos",
        destination="{{ params.destination }}/nomos/",
        deferrable=True,
        map_index_template="{{ task.input_path.rsplit('/', 1)[-1] }}",
    ).expand(input_path=images)

    SegmindBriaIncreaseResolutionOperator.partial(
        task_id="bria",
        desired_increase=2,
        destination="{{ params.destination }}/bria/",
        deferrable=True,
        map_index_template="{{ task.input_path.rsplit('/', 1)[-1] }}",
    ).expand(input_path=images)


segmind_upscale_folder()
