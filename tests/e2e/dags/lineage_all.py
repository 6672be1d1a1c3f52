"""Every operator that emits lineage, deferred. The emulator's addresses come from the environment."""

from __future__ import annotations

import os
from typing import Any

from airflow.sdk import DAG, AssetAlias, task

from airflow_provider_segmind.operators.segmind import SegmindBatchOperator, SegmindEsrganOperator
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator

IMAGES, OUT = os.environ["CHAOS_IMAGES"], f"{os.environ['CHAOS_OUT']}/lineage"
SIGNED = "?X-Amz-Signature=5ec7e75ec7e7"

with DAG("lineage_all", schedule=None, default_args={"retries": 0, "outlets": [], "poll_interval": 1}):
    SegmindBatchOperator(
        task_id="batch",
        model="esrgan",
        items=[f"{IMAGES}/batch-{number}.jpg{SIGNED}" for number in range(3)],
        destination=f"file://{OUT}/batch/",
        outlets=[AssetAlias("lineage_batch")],
    )

    @task.segmind(model="esrgan", destination=f"file://{OUT}/taskflow.png", deferrable=True)
    def taskflow() -> dict[str, Any]:
        return {"image": f"{IMAGES}/taskflow.jpg{SIGNED}", "output_format": "png"}

    taskflow()
    upscale = SegmindEsrganOperator(task_id="upscale", image=f"{IMAGES}/upscale.jpg{SIGNED}", deferrable=True)
    SegmindToObjectStorageOperator(task_id="store", result=upscale.output, destination=f"file://{OUT}/store.jpg")
    # Fails after the submit; its lineage is emitted, too.
    SegmindEsrganOperator(task_id="fails", image=f"{os.environ['UI_PHOTOS']}/not-there.jpg{SIGNED}", deferrable=True)
