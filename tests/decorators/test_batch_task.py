"""``@task.segmind(batch=True)``: the function returns a list, and one task instance runs it."""

from __future__ import annotations

import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_segmind.decorators.segmind import segmind_task
from airflow_provider_segmind.exceptions import SegmindConfigError
from tests.task_runner import run_tasks


def test_a_returned_list_runs_as_a_batch(airflow_db, segmind_emulator, photos, tmp_path, quick_polls):
    first, second = (segmind_emulator.add_image((photos / name).read_bytes()) for name in ("cat.jpg", "astronaut.png"))
    with DAG("a_batch_by_taskflow", schedule=None) as dag:

        @task.segmind(
            model="esrgan", destination=f"file://{tmp_path}/", batch=True, max_in_flight=1, parameters={"scale": 2}
        )
        def upscale(*images: str):
            return [{"image": image} for image in images]

        upscale(first, second)
    run = run_tasks(dag)
    assert run.state == "success"
    found = run.xcom("upscale")
    assert (found["total"], found["stored"], found["failed"]) == (2, 2, 0)
    assert found["manifest"] == f"file://{tmp_path}/upscale.manifest.jsonl"
    assert segmind_emulator.stats.submits_attempted == 2
    assert [request.parameters["scale"] for request in segmind_emulator.requests] == [2, 2]


@pytest.mark.parametrize(
    ("batch", "returned", "message"), [(False, [{}], "batch=True"), (True, {}, "a list of parameters")]
)
def test_a_wrong_return_value_fails_the_task(airflow_db, segmind_emulator, tmp_path, batch, returned, message):
    with DAG(f"wrong_return_value_{batch}", schedule=None) as dag:

        @task.segmind(model="esrgan", destination=f"file://{tmp_path}/", batch=batch)
        def upscale():
            return returned

        upscale()
    run = run_tasks(dag)
    assert run.state == "failed"
    assert message in run.log
    assert segmind_emulator.stats.submits_attempted == 0


@pytest.mark.parametrize("arguments", [{"destination": None}, {"deferrable": False}, {"wait_for_completion": False}])
def test_arguments_that_a_batch_cannot_use_are_rejected(arguments):
    with pytest.raises(SegmindConfigError, match="needs a destination"):
        segmind_task(model="esrgan", batch=True, **{"destination": "file:///tmp/out/", **arguments})


def test_a_batch_task_takes_no_items():
    with DAG("items_twice", schedule=None):

        @task.segmind(model="esrgan", destination="file:///tmp/out/", batch=True, items=[])
        def upscale():
            return []

        with pytest.raises(SegmindConfigError, match="has no argument items="):
            upscale()
