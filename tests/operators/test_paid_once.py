"""A want is paid for once: after a clear, a changed order, under another extension, with another signature."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowFailException, task

from airflow_provider_segmind.emulator import state
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator, SegmindNomosUpscalerOperator
from tests.airflow_versions import needs_task_state_store
from tests.operators.batches import dag_of, images_in
from tests.task_runner import run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls", "own_notes")

SIGNED = [
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=2026112{n}T000000Z&X-Amz-Expires=600&X-Amz-Signature=5ec7e7{n}",
    "AWSAccessKeyId=A&Expires={n}&Signature=5ec7e7{n}",
    "X-Goog-Credential=A&X-Goog-Signature=5ec7e7{n}",
    "sv=2026-01-01&se=2026-11-2{n}&sp=r&sig=5ec7e7{n}",
    "Policy=P{n}&Key-Pair-Id=K&Signature=5ec7e7{n}",
]


# --- a clear: of a success it is a new want, of a failure it is not -----------------------------------------------


def fails_once(error):
    """Return a ``post_execute`` that fails the first time: the task fails although its ``execute`` returned."""
    calls = []

    def fail(context, result=None):
        calls.append(result)
        if len(calls) == 1:
            raise error("after everything was done")

    return fail


def lower_retries(run):
    run.dag.task_dict["t"].retries = run.task("t").retries = 0


@needs_task_state_store
@pytest.mark.parametrize("retries", [0, 3])
@pytest.mark.parametrize("stores", [True, False])
def test_a_task_that_failed_after_execute_returned(upscale, segmind_emulator, tmp_path, deferrable, retries, stores):
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

    # Only now Airflow has reported a success, so a clear asks for a new image.
    second = again.again("t")
    assert second.state == "success"
    assert second.xcom("t")["request_id"] != paid.request_id
    assert segmind_emulator.stats.submits_accepted == 2


@needs_task_state_store
@pytest.mark.parametrize("retries", [3, 0])
def test_a_clear_after_a_success_is_a_new_want_whatever_the_retries(upscale, segmind_emulator, deferrable, retries):
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
def test_a_retry_after_execute_returned_delivers_the_same(upscale, segmind_emulator, tmp_path, deferrable):
    run = upscale(destination=f"file://{tmp_path}/out/", deferrable=deferrable, post_execute=fails_once(RuntimeError))
    assert (run.state, run.task("t").try_number) == ("success", 2)
    assert segmind_emulator.stats.submits_attempted == 1


# --- another extension than asked -----------------------------------------------------------------------------------


@pytest.fixture
def webp_whatever_is_asked(monkeypatch):
    plan = state.plan
    monkeypatch.setattr(state, "plan", lambda model, values: replace(plan(model, values), format="webp"))


@pytest.mark.parametrize("name", ["{stem}.{ext}", ""])
def test_skip_finds_an_object_of_another_extension(
    upscale, webp_whatever_is_asked, tmp_path, segmind_emulator, deferrable, name
):
    arguments = {"destination": f"file://{tmp_path}/{name}", "output_format": "png", "deferrable": deferrable}
    first = upscale(skip_existing=True, **arguments)
    assert first.xcom("t")["stored"][0]["uri"].endswith(".webp")
    for _ in range(2):
        assert upscale(skip_existing=True, **arguments).xcom("t")["skipped"]
    assert segmind_emulator.stats.submits_attempted == 1


@pytest.mark.parametrize("name", ["{stem}.{ext}", ""])
def test_fail_finds_an_object_of_another_extension_before_it_costs(
    upscale, webp_whatever_is_asked, tmp_path, segmind_emulator, deferrable, name
):
    arguments = {"destination": f"file://{tmp_path}/{name}", "output_format": "png", "deferrable": deferrable}
    assert upscale(if_exists="fail", **arguments).state == "success"
    run = upscale(if_exists="fail", **arguments)
    assert run.state == "failed"
    assert ".webp is there already, and if_exists='fail'" in run.log
    assert segmind_emulator.stats.submits_attempted == 1


def test_one_more_image_in_a_listing_shifts_no_names(upscale, images, tmp_path, segmind_emulator):
    """In a folder, what may be skipped is named by its input: a map index belongs to another image tomorrow."""
    found = images(3)
    arguments = {"destination": f"file://{tmp_path}/out/", "skip_existing": True}
    assert upscale(**arguments, expand={"image": found[1:]}).state == "success"
    run = upscale(**arguments, expand={"image": found})
    assert [bool(run.xcom("t", index).get("skipped")) for index in range(3)] == [False, True, True]
    assert segmind_emulator.stats.submits_accepted == 3


# --- a mapped run that is cleared ------------------------------------------------------------------------------------


@needs_task_state_store
def test_a_mapped_run_is_cleared_after_its_order_changed(segmind_emulator, images, tmp_path, deferrable):
    """The claim of an instance that was cleared, and has not started again, does not count: it gets another target."""
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

    # Two that really have the same destination are still refused, before the second one is submitted.
    accepted = segmind_emulator.stats.submits_accepted
    listing[2] = {**listing[2], "destination": listing[0]["destination"]}
    double = again.again("photos", "t")
    assert double.states()["t"] == ["success", "success", "failed"]
    assert "the mapped tasks 0 and 2 have the same destination" in double.log
    assert segmind_emulator.stats.submits_accepted == accepted + 2


# --- freshly signed URLs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signature", SIGNED)
def test_a_batch_knows_its_items_whatever_their_signatures(segmind_emulator, images, folder, signature):
    found = images(2)

    def sign(n):
        return [f"{image}?v=1&{signature.format(n=n)}" for image in found]

    first = run_tasks(dag_of(folder, sign(1)))
    assert first.state == "success"
    assert all("5ec7e71" in request.parameters["image"] for request in segmind_emulator.requests)
    second = run_tasks(dag_of(folder, sign(2)))
    assert second.xcom("upscale")["reused"] == 2
    assert segmind_emulator.stats.submits_accepted == 2
    assert "5ec7e7" not in (folder / "upscale.manifest.jsonl").read_text() + first.log + second.log

    # In one batch they are one image, and another query that is no signature is another one.
    third = run_tasks(dag_of(folder, [*sign(3), *sign(4), f"{found[0]}?v=2&{signature.format(n=3)}"]))
    assert (third.xcom("upscale")["total"], third.xcom("upscale")["reused"]) == (3, 2)
    assert len(images_in(folder)) == 3


def test_a_lost_response_is_found_by_a_url_signed_again(segmind_emulator, images, folder):
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


# --- an output that did not arrive whole ------------------------------------------------------------------------------


def test_an_output_that_was_cut_is_fetched_again(upscale, segmind_emulator, tmp_path):
    segmind_emulator.faults.add("output", "cut", times=1)
    run = upscale(destination=f"file://{tmp_path}/out.jpg", retries=1)
    assert run.state == "success"
    assert run.task("t").try_number == 2
    assert segmind_emulator.stats.submits_accepted == 1


# --- the input: gone since the submit, or in the way of the output --------------------------------------------------


@needs_task_state_store
@pytest.mark.parametrize("damage", ["gone", "empty", "no image"])
@pytest.mark.parametrize("skip", [False, True])
def test_a_paid_request_is_fetched_without_its_input(
    upscale, segmind_emulator, photos, tmp_path, deferrable, damage, skip
):
    source = tmp_path / "in" / "cat.jpg"
    source.parent.mkdir()
    source.write_bytes((photos / "cat.jpg").read_bytes())
    failing = fails_once(AirflowFailException)
    arguments = {"destination": f"file://{tmp_path}/out/", "skip_existing": skip, "sidecar": True}
    run = upscale(input_path=f"file://{source}", deferrable=deferrable, post_execute=failing, **arguments)
    assert run.state == "failed"
    [paid] = segmind_emulator.requests
    for left in (tmp_path / "out").iterdir():
        left.unlink()
    source.unlink() if damage == "gone" else source.write_bytes(b"" if damage == "empty" else b"text")
    again = run.again("t")
    assert again.state == "success", again.log
    assert again.xcom("t")["request_id"] == paid.request_id
    [stored] = again.xcom("t")["stored"]
    sidecar = json.loads((Path(stored["uri"].removeprefix("file://") + ".json")).read_text())
    assert sidecar["input"]["sha256"] == hashlib.sha256((photos / "cat.jpg").read_bytes()).hexdigest()
    assert len(segmind_emulator.requests) == 1
    final = again.again("t")  # that one succeeded: a clear is a new want, which needs its input
    assert final.state == "failed"
    assert len(segmind_emulator.requests) == 1


@pytest.mark.parametrize("name", ["cat.jpg", "{stem}.{ext}", "../in/cat.jpg"])
@pytest.mark.parametrize("if_exists", ["overwrite", "skip"])
def test_the_input_is_never_replaced(upscale, segmind_emulator, photos, tmp_path, deferrable, name, if_exists):
    source = tmp_path / "in" / "cat.jpg"
    source.parent.mkdir()
    content = (photos / "cat.jpg").read_bytes()
    source.write_bytes(content)
    run = upscale(
        input_path=f"file://{source}",
        destination=f"file://{source.parent}/{name}",
        if_exists=if_exists,
        deferrable=deferrable,
    )
    assert run.state == "failed"
    assert "is the input itself" in run.log
    assert source.read_bytes() == content
    assert segmind_emulator.requests == []


@needs_task_state_store
@pytest.mark.parametrize(("first", "then"), [("upload", "data"), ("data", "upload")])
def test_a_lost_submit_is_found_when_its_input_goes_in_another_way(upscale, segmind_emulator, photos, first, then):
    """What was sent is known by its own key: a later request is no proof against it."""
    arguments = {"operator": SegmindNomosUpscalerOperator, "retries": 0, "lost_submit_wait": 0.0, "deferrable": False}
    segmind_emulator.faults.add("submit", "drop_after", times=1)
    segmind_emulator.faults.add("history", "status:500")
    run = upscale(input_transport=first, **arguments)
    assert run.state == "failed"
    segmind_emulator.faults.clear()
    segmind_emulator.advance(60)
    with SegmindHook() as hook:
        hook.submit("esrgan", {"image": segmind_emulator.add_image(photos / "cat.jpg")})
    run.dag.task_dict["t"].input_transport = then
    again = run.again("t")
    assert again.state == "success", again.log
    assert segmind_emulator.stats.submits_accepted == 2


@needs_task_state_store
def test_a_lost_submit_is_found_without_its_input(upscale, segmind_emulator, photos, tmp_path, deferrable):
    source = tmp_path / "cat.jpg"
    source.write_bytes((photos / "cat.jpg").read_bytes())
    segmind_emulator.faults.add("submit", "drop_after", times=1)
    segmind_emulator.faults.add("history", "status:500")
    run = upscale(input_path=f"file://{source}", retries=0, lost_submit_wait=0.0, deferrable=deferrable)
    assert run.state == "failed"
    segmind_emulator.faults.clear()
    source.unlink()
    again = run.again("t")
    assert again.state == "success", again.log
    assert segmind_emulator.stats.submits_accepted == 1


@needs_task_state_store
def test_a_corrected_destination_counts_for_what_was_delivered(upscale, segmind_emulator, tmp_path, deferrable):
    failing = fails_once(AirflowFailException)
    run = upscale(destination=f"file://{tmp_path}/wrong/", deferrable=deferrable, post_execute=failing)
    assert run.state == "failed"
    run.dag.task_dict["t"].destination = f"file://{tmp_path}/right/"
    again = run.again("t")
    assert again.state == "success"
    assert "/right/" in again.xcom("t")["stored"][0]["uri"]
    assert segmind_emulator.stats.submits_accepted == 1


def test_fail_spares_what_is_in_the_place_of_the_sidecar(upscale, segmind_emulator, tmp_path, deferrable):
    (tmp_path / "cat.jpg.json").write_text("mine")
    run = upscale(destination=f"file://{tmp_path}/cat.jpg", sidecar=True, if_exists="fail", deferrable=deferrable)
    assert run.state == "failed"
    assert "cat.jpg.json is there already" in run.log
    assert (tmp_path / "cat.jpg.json").read_text() == "mine"
    assert segmind_emulator.stats.submits_attempted == 0
