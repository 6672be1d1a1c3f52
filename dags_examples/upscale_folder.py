"""
Upscale a folder of pictures with all three models, and store what comes back.

The folder is listed when the run starts, so a picture that lies there is a mapped task of each model. Each task
uploads its picture, submits one request, sleeps in the triggerer while Segmind computes, and stores the output
under ``destination/<model>/``. Run it with other folders through the run's parameters; any storage will do that
Airflow's ``ObjectStoragePath`` knows (``file://``, ``s3://``, ``gs://``).
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
        "source": Param("file:///tmp/pictures", type="string", description="Folder of pictures"),
        "destination": Param("file:///tmp/upscaled", type="string", description="Folder for what comes back"),
    },
    default_args={"retries": 3},  # a retry attaches to the request that is running: it is paid for once
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
