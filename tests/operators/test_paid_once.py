"""A want is billed once: after a clear, in another order, with another extension or another signature."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task

from airflow_provider_segmind.emulator import state
from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator
from tests.airflow_versions import needs_task_state_store
from tests.operators.batch_dag import batch_dag, images_in
from tests.operators.failing import fails_once
from tests.task_runner import run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls", "own_rate_limit_files")

SIGNED = [
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=2026112{n}T000000Z&X-Amz-Expires=600&X-Amz-Signature=5ec7e7{n}",
    "AWSAccessKeyId=A&Expires={n}&Signature=5ec7e7{n}",
    "X-Goog-Credential=A&X-Goog-Signature=5ec7e7{n}",
    "sv=2026-01-01&se=2026-11-2{n}&sp=r&sig=5ec7e7{n}",
    "Policy=P{n}&Key-Pair-Id=K&Signature=5ec7e7{n}",
]


# --- a clear of a success is a new want, a clear of a failure is not -------------------------------------------------


def lower_retries(run):
    run.dag.task_dict["t"].retries = run.task("t").retries = 0


@needs_task_state_store
@pytest.mark.parametrize("retries", [0, 3])
@pytest.mark.parametrize("stores", [True, False])
def test_a_clear_of_a_task_that_failed_after_execute_returns_the_same_result(
    upscale, segmind_emulator, tmp_path, deferrable, retries, stores
):
    place = {"destination": f"file://{tmp_path}/out/"} if stores else {}
    run = upscale(**place, deferrable=deferrable, retries=retries, post_execute=fails_once(AirflowFailException))
    assert run.state == "failed"
    [paid] = segmind_emulator.requests
    lower_retries(run)
    again = run.again("t")
    assert again.state == "success"
    value = again.xcom("t")
    assert value["request_id"] == paid.request_id
    assert ("stored" in value) is stores
    assert segmind_emulator.stats.submits_attempted == 1

    # Now the task has succeeded, so a clear is a new want.
    second = again.again("t")
    assert second.state == "success"
    assert second.xcom("t")["request_id"] != paid.request_id
    assert segmind_emulator.stats.submits_accepted == 2


@needs_task_state_store
@pytest.mark.parametrize("retries", [3, 0])
def test_a_clear_after_a_success_is_a_new_want_with_any_number_of_retries(
    upscale, segmind_emulator, deferrable, retries
):
    run = upscale(deferrable=deferrable, retries=retries)
    first = run.xcom("t")["request_id"]
    lower_retries(run)
    again = run.again("t")
    assert again.state == "success"
    assert again.xcom("t")["request_id"] != first
    lower_retries(again)
    assert again.again("t").state == "success"
    assert segmind_emulator.stats.submits_accepted == 3


@needs_task_state_store
def test_a_retry_after_execute_returned_delivers_the_same_result(upscale, segmind_emulator, tmp_path, deferrable):
    run = upscale(destination=f"file://{tmp_path}/out/", deferrable=deferrable, post_execute=fails_once(RuntimeError))
    assert (run.state, run.task("t").try_number) == ("success", 2)
    assert segmind_emulator.stats.submits_attempted == 1


@needs_task_state_store
def test_a_retry_stores_a_delivered_result_at_the_corrected_destination(
    upscale, segmind_emulator, tmp_path, deferrable
):
    failing = fails_once(AirflowFailException)
    run = upscale(destination=f"file://{tmp_path}/wrong/", deferrable=deferrable, post_execute=failing)
    assert run.state == "failed"
    run.dag.task_dict["t"].destination = f"file://{tmp_path}/right/"
    again = run.again("t")
    assert again.state == "success"
    assert "/right/" in again.xcom("t")["stored"][0]["uri"]
    assert segmind_emulator.stats.submits_accepted == 1


# --- an output with another extension than requested -----------------------------------------------------------------


@pytest.fixture
def every_output_is_webp(monkeypatch):
    plan = state.plan
    monkeypatch.setattr(state, "plan", lambda model, values: replace(plan(model, values), format="webp"))


@pytest.mark.parametrize("name", ["{stem}.{ext}", ""])
def test_skip_existing_finds_an_object_with_another_extension(
    upscale, every_output_is_webp, tmp_path, segmind_emulator, deferrable, name
):
    arguments = {"destination": f"file://{tmp_path}/{name}", "output_format": "png", "deferrable": deferrable}
    first = upscale(skip_existing=True, **arguments)
    assert first.xcom("t")["stored"][0]["uri"].endswith(".webp")
    for _ in range(2):
        assert upscale(skip_existing=True, **arguments).xcom("t")["skipped"]
    assert segmind_emulator.stats.submits_attempted == 1


@pytest.mark.parametrize("name", ["{stem}.{ext}", ""])
def test_if_exists_fail_finds_an_object_with_another_extension_before_the_submit(
    upscale, every_output_is_webp, tmp_path, segmind_emulator, deferrable, name
):
    arguments = {"destination": f"file://{tmp_path}/{name}", "output_format": "png", "deferrable": deferrable}
    assert upscale(if_exists="fail", **arguments).state == "success"
    run = upscale(if_exists="fail", **arguments)
    assert run.state == "failed"
    assert ".webp exists already, and if_exists='fail'" in run.log
    assert segmind_emulator.stats.submits_attempted == 1


def test_a_new_image_in_a_folder_does_not_change_the_names_of_the_others(upscale, images, tmp_path, segmind_emulator):
    """With skip_existing an output is named by its input, because the map index of an image can change."""
    found = images(3)
    arguments = {"destination": f"file://{tmp_path}/out/", "skip_existing": True}
    assert upscale(**arguments, expand={"image": found[1:]}).state == "success"
    run = upscale(**arguments, expand={"image": found})
    assert [bool(run.xcom("t", index).get("skipped")) for index in range(3)] == [False, True, True]
    assert segmind_emulator.stats.submits_accepted == 3


# --- a mapped run that is cleared ------------------------------------------------------------------------------------


@needs_task_state_store
def test_a_mapped_run_can_be_cleared_after_its_order_changed(segmind_emulator, images, tmp_path, deferrable):
    """An instance that was cleared and has not started yet does not keep its old destination."""
    sources = images(3)
    listing = [{"image": image, "destination": f"file://{tmp_path}/{n}.jpg"} for n, image in enumerate(sources)]
    with DAG("order", schedule=None) as dag:

        @task
        def photos():
            return listing

        partial = SegmindEsrganOperator.partial(task_id="t", deferrable=deferrable, poll_interval=0.25)
        partial.expand_kwargs(photos())
    run = run_tasks(dag)
    assert run.state == "success"
    listing.reverse()
    again = run.again("photos", "t")
    assert again.state == "success", again.log
    stored = [again.xcom("t", index)["stored"][0]["uri"] for index in range(3)]
    assert stored == [item["destination"] for item in listing]

    # Two tasks with the same destination are still rejected before the second one submits.
    accepted = segmind_emulator.stats.submits_accepted
    listing[2] = {**listing[2], "destination": listing[0]["destination"]}
    conflict = again.again("photos", "t")
    assert conflict.states()["t"] == ["success", "success", "failed"]
    assert "the mapped tasks 0 and 2 have the same destination" in conflict.log
    assert segmind_emulator.stats.submits_accepted == accepted + 2


# --- URLs that are signed again --------------------------------------------------------------------------------------


@pytest.mark.parametrize("signature", SIGNED)
def test_a_batch_recognizes_its_items_with_other_signatures(segmind_emulator, images, folder, signature):
    found = images(2)

    def sign(n):
        return [f"{image}?v=1&{signature.format(n=n)}" for image in found]

    first = run_tasks(batch_dag(folder, sign(1)))
    assert first.state == "success"
    assert all("5ec7e71" in request.parameters["image"] for request in segmind_emulator.requests)
    second = run_tasks(batch_dag(folder, sign(2)))
    assert second.xcom("upscale")["reused"] == 2
    assert segmind_emulator.stats.submits_accepted == 2
    assert "5ec7e7" not in (folder / "upscale.manifest.jsonl").read_text() + first.log + second.log

    # Two signatures of one URL are one item; a different query parameter is another item.
    third = run_tasks(batch_dag(folder, [*sign(3), *sign(4), f"{found[0]}?v=2&{signature.format(n=3)}"]))
    assert (third.xcom("upscale")["total"], third.xcom("upscale")["reused"]) == (3, 2)
    assert len(images_in(folder)) == 3


def test_a_lost_response_is_found_with_another_signature(segmind_emulator, images, folder):
    [image] = images(1)
    signed = iter(range(1, 9))
    segmind_emulator.faults.add("submit", "drop_after", times=1)
    segmind_emulator.faults.add("history", "status:500", times=6)
    with DAG("signed", schedule=None, user_defined_macros={"sign": lambda: next(signed)}) as dag:
        SegmindEsrganOperator(
            task_id="t",
            image=f"{image}?X-Amz-Signature=5ec7e7{{{{ sign() }}}}",
            lost_submit_wait=0.0,
            poll_interval=0.25,
            retries=4,
            retry_delay=timedelta(0),
        )
    run = run_tasks(dag)
    assert run.state == "success"
    assert run.task("t").try_number > 1
    assert segmind_emulator.stats.submits_attempted == 1


# --- an incomplete download ------------------------------------------------------------------------------------------


def test_a_truncated_output_is_downloaded_again(upscale, segmind_emulator, tmp_path):
    segmind_emulator.faults.add("output", "cut", times=4)  # each try downloads three times
    run = upscale(destination=f"file://{tmp_path}/out.jpg", retries=1)
    assert run.state == "success"
    assert run.task("t").try_number == 2
    assert segmind_emulator.stats.submits_accepted == 1
