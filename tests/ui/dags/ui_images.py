"""The DAGs of the browser tests: every kind of task that has an image to show, or a reason why not."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, BaseOperator, task

from airflow_provider_segmind.operators.segmind import (
    SegmindBatchOperator,
    SegmindBriaIncreaseResolutionOperator,
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
    SegmindRunModelOperator,
)
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.ui.evil import EVIL, SCRIPT

PHOTOS, OUT = os.environ["UI_PHOTOS"], os.environ["CHAOS_OUT"]
ALL = ["astronaut.png", "cat.jpg", "portrait-alpha.png", "galaxies.webp"]

#: Retries for a busy machine, whose Airflow takes a resumed task for killed; permanent errors are not retried.
OURS = {"retries": 3, "retry_delay": timedelta(seconds=1)}

with DAG("product_photos", schedule=None, default_args=OURS):
    SegmindEsrganOperator(task_id="hero", image=f"{PHOTOS}/cat.jpg", scale=4, output_format="png", poll_interval=1)
    SegmindBriaIncreaseResolutionOperator.partial(
        task_id="enlarge",
        desired_increase=2,
        deferrable=True,
        poll_interval=1,
        map_index_template="{{ task.image.rsplit('/', 1)[-1] }}",
    ).expand(image=[f"{PHOTOS}/{name}" for name in ALL])
    SegmindRunModelOperator(
        task_id="thumbnails",
        model="esrgan",
        parameters={"image": f"{PHOTOS}/astronaut.png", "scale": 2},
        poll_interval=1,
    )
    SegmindNomosUpscalerOperator(
        task_id="into_storage",
        image=f"{PHOTOS}/galaxies.webp",
        destination=f"file://{OUT}/{{{{ run_id }}}}/",
        poll_interval=1,
    )
    SegmindEsrganOperator(task_id="only_submits", image=f"{PHOTOS}/cat.jpg", wait_for_completion=False)
    task(task_id="not_ours")(lambda: "just a task")()

# In private storage: only its previews can be shown.
with DAG("private", schedule=None, default_args=OURS):
    SegmindNomosUpscalerOperator(
        task_id="kept",
        input_path=f"{os.environ['UI_PHOTO_FILES']}/galaxies.webp",
        destination=f"file://{OUT}/{{{{ run_id }}}}/private/",
        deferrable=True,
        poll_interval=1,
    )

with DAG("catalogue", schedule=None, default_args=OURS):
    SegmindBatchOperator(
        task_id="whole_folder",
        model="esrgan",
        items=[f"{PHOTOS}/{name}" for name in ALL] + [f"{PHOTOS}/not-there.jpg"],
        destination=f"file://{OUT}/{{{{ run_id }}}}/batch/",
        poll_interval=1,
        max_failures=1,
    )

# "slow" and "broken" are models of the emulator only; the tests configure them.
with DAG("waits", schedule=None, default_args=OURS):
    for mode in (False, True):
        SegmindRunModelOperator(
            task_id="deferred" if mode else "in_worker",
            model="slow",
            parameters={"image": f"{PHOTOS}/astronaut.png"},
            deferrable=mode,
            poll_interval=1,
        )

with DAG("fails", schedule=None, default_args=OURS):
    for mode in (False, True):
        SegmindRunModelOperator(
            task_id="deferred" if mode else "in_worker",
            model="broken",
            parameters={"image": f"{PHOTOS}/cat.jpg"},
            deferrable=mode,
            poll_interval=1,
        )
    SegmindToObjectStorageOperator(
        task_id="expired", request_id="7c9e6679-7425-40de-944b-e07fc1f90ae7", destination=f"file://{OUT}/expired/"
    )
    SegmindEsrganOperator(task_id="refused", image="{{ 'no address' }}")

# One image, whose rows a test copies many times.
with DAG("archive", schedule=None, default_args=OURS):
    SegmindEsrganOperator.partial(task_id="old", poll_interval=1).expand(image=[f"{PHOTOS}/cat.jpg"])


def evil_result(url: str) -> dict[str, object]:
    """Return an XCom of the operators' shape with an attack in each of its strings."""
    return {
        "request_id": EVIL,
        "model": EVIL,
        "status": EVIL,
        "output": url,
        "outputs": [{"url": url, "content_type": "image/" + EVIL, "file_name": EVIL, "file_size": EVIL}],
        "metrics": {"cost": EVIL, "remaining_credits": EVIL, "queue_time": SCRIPT, "inference_time": [EVIL]},
        "named": {EVIL: EVIL, "link": SCRIPT},
        "stored": [{"uri": url, "bytes": EVIL, "sha256": EVIL, "content_type": "image/" + EVIL, "width": EVIL,
                    "preview": {"before": {"uri": SCRIPT}, "after": {"uri": SCRIPT}}}],
    }  # fmt: skip


class _Evil(BaseOperator):
    """Return a given value, or fail with a given error."""

    template_fields = ("model", "parameters", "image")

    def __init__(self, *, value: object = None, error: object = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model, self.image = EVIL, SCRIPT
        self.parameters = {"image": SCRIPT, EVIL: EVIL}
        self.value, self.error = value, error

    def execute(self, context: Any) -> object:
        if self.error:
            context["ti"].xcom_push(key="segmind_error", value=self.error)
            raise RuntimeError(EVIL)
        return self.value


#: Airflow stores the class's name, by which the pages recognize an operator.
Evil = type("SegmindRunModelOperator", (_Evil,), {})

with DAG("attack", dag_display_name=EVIL, schedule=None, default_args={"retries": 0}):
    Evil(task_id="script", task_display_name=EVIL, value=evil_result(SCRIPT))
    Evil(task_id="data", value=evil_result("data:text/html,<script>top.hacked=1</script>"))
    Evil(task_id="markup", value=evil_result(EVIL))
    Evil(
        task_id="error",
        error=dict.fromkeys(("type", "title", "message", "next_step", "request_id", "status"), EVIL),
    )
    Evil(
        task_id="batch",
        value={
            "model": EVIL, "manifest": SCRIPT, "total": 3, "stored": EVIL, "errors": {EVIL: EVIL},
            "metrics": EVIL, "seconds": EVIL,
        },
    )  # fmt: skip
