"""Images that are upscaled by processes which die once: one task for each place."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_segmind.operators.segmind import (
    SegmindBatchOperator,
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
    SegmindRunModelOperator,
)
from tests.chaos.cases import BATCH_CASES, DROPPED, FAST, IN_A_WAVE, IN_THE_WAIT, LOST, NOT_ACCEPTED, Case, cases
from tests.chaos.kills import arm

IMAGES, OUT = os.environ["CHAOS_IMAGES"], os.environ["CHAOS_OUT"]
LONG = {"retries": 3, "retry_delay": timedelta(seconds=1)}


def upscale(case: Case, mode: str, **arguments: Any) -> None:
    """Create the task of a case."""
    SegmindEsrganOperator(
        task_id=f"{mode}_{case.name}",
        image=f"{IMAGES}/{{{{ run_id }}}}-{case.name}.jpg",
        destination=f"file://{OUT}/{{{{ run_id }}}}/{case.name}.jpg",
        deferrable=mode == "deferrable",
        poll_interval=1,
        **case.arguments,
        **arguments,
    )
    if case.kill:
        arm({f"{mode}_{case.name}": case.kill})


def upscale_many(case: Case) -> None:
    """Create the task of a batch's case: six images in two waves."""
    SegmindBatchOperator(
        task_id=case.name,
        model="esrgan",
        items=[f"{IMAGES}/{{{{ run_id }}}}-{case.name}-{number}.jpg" for number in range(6)],
        destination=f"file://{OUT}/{{{{ run_id }}}}/{case.name}/",
        max_in_flight=4,
        poll_interval=1,
        **case.arguments,
    )
    if case.kill:
        arm({case.name: case.kill})


for dag_id, mode, names in (
    ("chaos_fast", "deferrable", FAST),
    ("chaos_deferrable", "deferrable", None),
    ("chaos_plain", "plain", None),
):
    with DAG(dag_id, schedule=None, default_args=LONG):
        for case in cases(mode, names):
            upscale(case, mode)
        if names is None:
            # The only task of its model, so that the emulator drops only its response.
            SegmindNomosUpscalerOperator(
                task_id=f"{mode}_{DROPPED.name}",
                image=f"{IMAGES}/{{{{ run_id }}}}-{DROPPED.name}.jpg",
                destination=f"file://{OUT}/{{{{ run_id }}}}/{DROPPED.name}.png",
                deferrable=mode == "deferrable",
                poll_interval=1,
            )


@task
def id_of(result: dict[str, Any]) -> str:
    """Read the result of a task, as a downstream task does."""
    return str(result["request_id"])


# The triggerer ends these tasks itself; the one that fails is resumed on a worker.
with DAG("ends_in_the_triggerer", schedule=None):
    for name, model in (("first", "esrgan"), ("second", "esrgan"), ("fails", "nomos-upscaler")):
        ended = SegmindRunModelOperator(
            task_id=name,
            model=model,
            parameters={"image": f"{IMAGES}/{{{{ run_id }}}}-{name}.jpg"},
            deferrable=True,
            end_from_trigger=True,
            poll_interval=1,
        )
        id_of.override(task_id=f"after_{name}")(ended.output)  # type: ignore[arg-type]

# Batches, each of which is killed at another place.
with DAG("chaos_batch", schedule=None, default_args=LONG):
    for case in BATCH_CASES:
        upscale_many(case)

# Runs beside chaos_fast on every Airflow: a process dies while it waits itself, and a batch dies in a wave.
with DAG("chaos_every", schedule=None, default_args=LONG):
    upscale(IN_THE_WAIT, "plain")
    upscale_many(IN_A_WAVE)

# A submit with an unknown outcome: each try searches again, and the user has to decide.
with DAG("chaos_lost", schedule=None, default_args=LONG):
    upscale(LOST, "deferrable", lost_submit_wait=2)

# The same with default arguments, while another user of the key submits a request.
with DAG("chaos_not_accepted", schedule=None, default_args=LONG):
    upscale(NOT_ACCEPTED, "deferrable")

# Three images that wait long enough for another part to die.
with DAG("chaos_wait", schedule=None, default_args=LONG):
    for number in range(3):
        SegmindEsrganOperator(
            task_id=f"wait_{number}",
            image=f"{IMAGES}/{{{{ run_id }}}}-{number}.jpg",
            destination=f"file://{OUT}/{{{{ run_id }}}}/{number}.jpg",
            deferrable=True,
            poll_interval=12,
        )
