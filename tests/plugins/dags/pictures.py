"""Pictures whose previews are asked for, and tasks whose links are followed."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_segmind.operators.segmind import (
    SegmindBriaIncreaseResolutionOperator,
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
    SegmindRunModelOperator,
)
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator

PICTURES, OUT, PHOTOS = (os.environ[f"CHAOS_{name}"] for name in ("PICTURES", "OUT", "PHOTOS"))

with DAG("shown", schedule=None):
    SegmindEsrganOperator.partial(
        task_id="mapped", destination=f"file://{OUT}/{{stem}}.{{ext}}", deferrable=True, poll_interval=1
    ).expand(input_path=[f"file://{PHOTOS}/{name}" for name in ("cat.jpg", "astronaut.png")])
    SegmindToObjectStorageOperator(
        task_id="to_bucket",
        result=SegmindRunModelOperator(
            task_id="by_url", model="esrgan", parameters={"image": f"{PICTURES}/a.jpg"}
        ).output,
        destination="s3://pictures/out/",
        destination_conn_id="pictures_s3",
    )

    class Mine(SegmindEsrganOperator):
        """A user's own class."""

    Mine(task_id="by_mine", image=f"{PICTURES}/g.jpg", deferrable=True, poll_interval=1)

    @task
    def says() -> dict[str, Any]:
        """Return what a test changes then."""
        return {"stored": []}

    says()

# The emulator is told to let this model run for ever.
with DAG("waits", schedule=None):
    SegmindBriaIncreaseResolutionOperator.partial(task_id="mapped", deferrable=True, timeout=3600).expand(
        image=[f"{PICTURES}/d.jpg", f"{PICTURES}/e.jpg"]
    )
    SegmindBriaIncreaseResolutionOperator(
        task_id="single", image=f"{PICTURES}/f.jpg", deferrable=True, timeout=3600, destination=f"file://{OUT}/f.png"
    )

# And this one fail.
with DAG("fails", schedule=None):
    SegmindNomosUpscalerOperator(task_id="deferred", image=f"{PICTURES}/b.jpg", deferrable=True, poll_interval=1)
    SegmindNomosUpscalerOperator.partial(task_id="here", poll_interval=1).expand(image=[f"{PICTURES}/c.jpg"])

# Not everybody may read this one.
with DAG("private", schedule=None):
    SegmindEsrganOperator(task_id="one", input_path=f"file://{PHOTOS}/cat.jpg", destination=f"file://{OUT}/private.jpg")
