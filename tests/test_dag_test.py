"""
Tasks with Airflow's scheduler, database and API server, run by ``dag.test()``.

The operators are tested with Airflow's task runner alone (``tests.task_runner``). These tests cover what the scheduler
adds.
"""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_segmind.operators.segmind import SegmindBatchOperator, SegmindEsrganOperator
from airflow_provider_segmind.retry_policy import SegmindRetryPolicy
from airflow_provider_segmind.sensors.segmind import SegmindCreditsSensor
from airflow_provider_segmind.storage import list_images
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.airflow_env import run_dag
from tests.airflow_versions import AIRFLOW, no_new_try
from tests.buckets import BUCKET, CONN

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls")


@no_new_try
@pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "plain"])
def test_one_image_is_paid_for_once(segmind_emulator, quick_retries, photos, tmp_path, deferrable):
    """The first try cannot download the output, and the retry reattaches. A clear of the success submits again."""
    segmind_emulator.faults.add("output", "status:500", times=6)
    with DAG("once", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale",
            image=segmind_emulator.add_image(photos / "cat.jpg"),
            destination=f"file://{tmp_path}/{{{{ dag.dag_id }}}}.png",
            deferrable=deferrable,
            poll_interval=0.25,
            retries=1,
            retry_delay=timedelta(0),
        )
    run = run_dag(dag)
    assert run.state == "success"
    assert run.task("upscale").try_number == 2
    assert (run.deferrals > 0) is deferrable
    assert run.xcom("upscale")["stored"][0]["uri"] == f"file://{tmp_path}/once.png"
    assert run.again("upscale").state == "success"
    assert segmind_emulator.stats.submits_accepted == (
        2 if AIRFLOW >= (3, 3) else 1
    )  # without the task state store, a clear finds the same request
    assert segmind_emulator.api_key not in run.log


def test_a_batch_is_paid_for_once(segmind_emulator, photos, tmp_path):
    with DAG("batch", schedule=None) as dag:
        SegmindBatchOperator(
            task_id="upscale",
            model="esrgan",
            items=[segmind_emulator.add_image(photos / "cat.jpg", name=f"{number}.jpg") for number in range(4)],
            destination=f"file://{tmp_path}",
            max_in_flight=2,
        )
    run = run_dag(dag)
    assert run.states() == {"upscale": ["success"]}
    assert run.xcom("upscale")["stored"] == 4
    assert run.deferrals >= 1
    [lost, *_] = tmp_path.glob("*.jpg")
    lost.unlink()
    assert run.again("upscale").xcom("upscale")["stored"] == 4
    assert lost.exists()
    assert segmind_emulator.stats.submits_accepted == 4
    assert segmind_emulator.api_key not in run.log


def test_a_rate_limit_and_the_retry_policy(segmind_emulator, photos):
    """The task waits for a rate limit in the triggerer; a permanent error fails the task at its first try."""
    segmind_emulator.faults.add("submit", "status:429", times=1, headers={"retry-after": "1"})
    with DAG("limit", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale",
            image=segmind_emulator.add_image(photos / "cat.jpg"),
            deferrable=True,
            poll_interval=0.25,
            retries=1,
            retry_policy=SegmindRetryPolicy(),
        )
    run = run_dag(dag)
    assert run.state == "success"
    assert (run.task("upscale").try_number, run.deferrals) == (1, 2)
    segmind_emulator.faults.add("submit", "status:401", times=1)
    run = run_dag(dag)
    assert (run.state, run.task("upscale").try_number) == ("failed", 1)


def test_a_rescheduled_sensor_succeeds(segmind_emulator):
    with DAG("credits", schedule=None) as dag:
        SegmindCreditsSensor(task_id="wait", at_least=1, mode="reschedule", poke_interval=0.25)
    assert run_dag(dag).states() == {"wait": ["success"]}


def test_mapped_transfers_fill_placeholders_and_must_not_share_a_destination(
    airflow_db, segmind_emulator, photos, tmp_path
):
    for name, states in (
        ("{model}/{map_index}-{request_id}.{ext}", ["success"] * 2),
        ("same.jpg", ["failed", "success"]),
    ):
        with DAG("transfer", schedule=None) as dag:
            upscaled = SegmindEsrganOperator.partial(task_id="upscale", poll_interval=0.25).expand(
                input_path=[f"file://{photos}/{photo}" for photo in ("cat.jpg", "astronaut.png")]
            )
            SegmindToObjectStorageOperator.partial(task_id="store", destination=f"file://{tmp_path}/{name}").expand(
                result=upscaled.output
            )
        run = run_dag(dag)
        assert sorted(run.states()["store"]) == states
        if "{" in name:
            ids = [run.xcom("upscale", index)["request_id"] for index in range(2)]
            assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
                f"esrgan/{index}-{ids[index]}.jpg" for index in range(2)
            ]


def test_images_of_a_folder_are_mapped(airflow_db, segmind_emulator, bucket, photos):
    for name in ("cat.jpg", "astronaut.png"):
        bucket.client.put_object(Bucket=BUCKET, Key=f"in/{name}", Body=(photos / name).read_bytes())
    for prefix, states in (("in/", ["success"] * 2), ("nothing/", ["skipped"])):
        with DAG("expand", schedule=None) as dag:
            SegmindEsrganOperator.partial(
                task_id="upscale", poll_interval=0.25, destination=f"s3://{CONN}@{BUCKET}/out/{{stem}}.{{ext}}"
            ).expand(input_path=task(list_images)(f"s3://{CONN}@{BUCKET}/{prefix}"))
        run = run_dag(dag)
        assert run.states() == {"list_images": ["success"], "upscale": states}
    assert {key for key in bucket.objects() if key.startswith("out/")} == {"out/astronaut.jpg", "out/cat.jpg"}


def test_end_from_trigger_runs_under_dag_test_as_well(segmind_emulator, photos):
    """``dag.test()`` passes every event to the operator, so the task is resumed there."""
    with DAG("ends_in_the_triggerer", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="t",
            image=segmind_emulator.add_image(photos / "cat.jpg"),
            deferrable=True,
            end_from_trigger=True,
        )
    run = run_dag(dag)
    assert run.state == "success"
    assert run.xcom("t")["status"] == "COMPLETED"
