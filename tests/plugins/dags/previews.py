"""Tasks whose previews are requested, and whose links are read."""

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
from tests.buckets import BUCKET, CONN

IMAGES, PHOTOS = os.environ["CHAOS_IMAGES"], os.environ["UI_PHOTO_FILES"]
NO_IMAGE = f"{os.environ['UI_PHOTOS']}/not-there.jpg"
OUT = f"{os.environ['CHAOS_OUT']}/previews"

with DAG("shown", schedule=None):
    SegmindEsrganOperator.partial(
        task_id="mapped", destination=f"file://{OUT}/{{stem}}.{{ext}}", deferrable=True, poll_interval=1
    ).expand(input_path=[f"{PHOTOS}/{name}" for name in ("cat.jpg", "astronaut.png")])
    SegmindToObjectStorageOperator(
        task_id="to_bucket",
        result=SegmindRunModelOperator(
            task_id="by_url", model="esrgan", parameters={"image": f"{IMAGES}/a.jpg"}
        ).output,
        destination=f"s3://{BUCKET}/out/",
        destination_conn_id=CONN,
    )

    class Mine(SegmindEsrganOperator):
        """A user's own class."""

    Mine(task_id="by_mine", image=f"{IMAGES}/g.jpg", deferrable=True, poll_interval=1)

    @task
    def reports() -> dict[str, Any]:
        """Return a result that a test replaces."""
        return {"stored": []}

    reports()

# These wait longer than any test, and do not poll before.
LONG: dict[str, Any] = {"deferrable": True, "poll_interval": 3000, "timeout": 3600}
with DAG("previews_wait", schedule=None):
    SegmindBriaIncreaseResolutionOperator.partial(task_id="mapped", **LONG).expand(
        image=[f"{IMAGES}/d.jpg", f"{IMAGES}/e.jpg"]
    )
    SegmindBriaIncreaseResolutionOperator(
        task_id="single", image=f"{IMAGES}/f.jpg", destination=f"file://{OUT}/f.png", **LONG
    )

# The image does not exist, so that the requests fail. (A host that asks for a password would do too, but then the
# browser of the UI tests, which shows the input, opens a password dialog that blocks every page.)
with DAG("previews_fail", schedule=None):
    SegmindNomosUpscalerOperator(task_id="deferred", image=NO_IMAGE, deferrable=True, poll_interval=1)
    SegmindNomosUpscalerOperator.partial(task_id="here", poll_interval=1).expand(image=[NO_IMAGE])

# Only one user may read this DAG.
with DAG("previews_private", schedule=None):
    SegmindEsrganOperator(task_id="one", input_path=f"{PHOTOS}/cat.jpg", destination=f"file://{OUT}/private.jpg")
