"""SegmindRunWorkflowOperator in both modes, and models whose output is a video or a sound."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.operators.segmind import SegmindRunModelOperator, SegmindRunWorkflowOperator
from airflow_provider_segmind.sensors.segmind import SegmindRequestSensor
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.task_runner import run_tasks

RETRY = {"retries": 1, "retry_delay": timedelta(0)}


@pytest.fixture(params=[True, False], ids=["deferrable", "plain"])
def deferrable(request, quick_polls, quick_retries):
    return request.param


def run_workflow(deferrable, **arguments):
    with DAG("flow", schedule=None, params={"slug": "my-flow", "prompt": "a cat"}) as dag:
        SegmindRunWorkflowOperator(
            task_id="flow",
            deferrable=deferrable,
            **{"workflow": "{{ params.slug }}", "timeout": 20, **RETRY, **arguments},
        )
    return run_tasks(dag)


def paths_by_name(stored):
    """Return the local path of each named output."""
    return {item["name"]: Path(item["uri"].removeprefix("file://")) for item in stored}


def test_the_outputs_of_a_workflow_have_names(airflow_db, segmind_emulator, photos, tmp_path, deferrable):
    image = segmind_emulator.add_image(photos / "cat.jpg")
    run = run_workflow(
        deferrable,
        inputs={"image": image, "prompt": "{{ params.prompt }}"},
        destination=f"file://{tmp_path}/out/",
    )
    assert run.state == "success"
    value = run.xcom("flow")
    assert set(value) == {"request_id", "model", "status", "output", "outputs", "metrics", "named", "stored"}
    assert value["model"] == "my-flow"
    assert value["named"] == {"upscaled_image": value["output"], "caption": "echo: a cat"}
    paths = paths_by_name(value["stored"])
    assert {name: path.name for name, path in paths.items()} == {
        "upscaled_image": "flow_upscaled_image.png",
        "caption": "flow_caption.txt",
    }
    assert paths["caption"].read_text() == "echo: a cat"
    photo, caption = value["stored"]
    assert (photo["content_type"], photo["width"], photo["height"]) == ("image/png", 600, 400)
    assert (caption["content_type"], caption["bytes"], caption["width"]) == ("text/plain", 11, None)
    for item in value["stored"]:
        content = Path(item["uri"].removeprefix("file://")).read_bytes()
        assert item["sha256"] == hashlib.sha256(content).hexdigest()
    [request] = segmind_emulator.requests
    assert (request.model, request.parameters) == ("my-flow", {"image": image, "prompt": "a cat"})
    assert segmind_emulator.stats.billed == 1


def test_a_single_output_can_be_stored_as_one_object(airflow_db, segmind_emulator, photos, tmp_path, deferrable):
    image = segmind_emulator.add_image(photos / "cat.jpg")
    run = run_workflow(deferrable, inputs={"image": image}, destination=f"file://{tmp_path}/cat.png")
    assert [item["uri"] for item in run.xcom("flow")["stored"]] == [f"file://{tmp_path}/cat.png"]


def test_a_text_output_needs_no_destination(airflow_db, segmind_emulator, deferrable):
    run = run_workflow(deferrable, inputs={"prompt": "hello"})
    value = run.xcom("flow")
    assert (value["named"], value["output"], value["outputs"]) == ({"text": "echo: hello"}, None, [])


def test_a_workflow_may_have_the_slug_of_a_model(airflow_db, segmind_emulator, deferrable, tmp_path):
    """The author of a workflow chooses its slug, so the rules of the model's page do not apply."""
    run = run_workflow(
        deferrable, workflow="esrgan", inputs={"prompt": "x", "scale": 3}, destination=f"file://{tmp_path}/"
    )
    assert run.state == "success"
    assert (tmp_path / "flow_text.txt").read_text() == "echo: x"


def test_a_lost_response_is_found_in_the_history(airflow_db, segmind_emulator, deferrable):
    segmind_emulator.faults.add("submit", "drop_after", times=1)
    run = run_workflow(deferrable, inputs={"prompt": "x"})
    assert run.state == "success"
    assert "of an earlier submit: nothing is billed again" in run.log
    assert segmind_emulator.stats.submits_accepted == segmind_emulator.stats.billed == 1


def test_an_unknown_outcome_of_a_workflow_is_not_submitted_again(airflow_db, segmind_emulator, deferrable):
    """Segmind does not document under which name the history lists a workflow, so nothing is submitted again."""
    segmind_emulator.faults.add("submit", "drop_after", times=1)
    segmind_emulator.faults.add("history", "status:500")
    run = run_workflow(deferrable, inputs={"prompt": "x"}, lost_submit_wait=0.0)
    assert run.state == "failed"
    assert run.task("flow").try_number == 2  # the next try searches again
    assert "The response to a submit was lost" in run.log
    assert segmind_emulator.stats.submits_accepted == 1


def test_a_retry_stores_the_output_of_the_first_try(airflow_db, segmind_emulator, photos, tmp_path, deferrable):
    """The first try cannot download the output; the retry does not submit again."""
    image = segmind_emulator.add_image(photos / "cat.jpg")
    segmind_emulator.faults.add("output", "status:503", times=6)
    run = run_workflow(deferrable, inputs={"image": image}, destination=f"file://{tmp_path}/out/")
    assert run.state == "success"
    assert run.task("flow").try_number == 2
    assert segmind_emulator.stats.submits_accepted == 1
    value = run.xcom("flow")
    assert [item["name"] for item in value["stored"]] == ["upscaled_image"]


def test_mapped_workflows_are_submitted_awaited_and_stored_in_three_tasks(
    airflow_db, segmind_emulator, photos, tmp_path, deferrable
):
    image = segmind_emulator.add_image(photos / "cat.jpg")
    with DAG("split_flow", schedule=None) as dag:
        ids = SegmindRunWorkflowOperator.partial(task_id="submit", workflow="my-flow", wait_for_completion=False)
        submit = ids.expand(inputs=[{"image": image, "prompt": "one"}, {"prompt": "two"}])
        wait = SegmindRequestSensor.partial(task_id="wait", deferrable=deferrable, poke_interval=0.25)
        results = wait.expand(request_id=submit.output)
        store = SegmindToObjectStorageOperator.partial(task_id="store", destination=f"file://{tmp_path}/")
        store.expand(result=results.output)
    run = run_tasks(dag)
    assert run.state == "success"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "store_0_caption.txt",
        "store_0_upscaled_image.png",
        "store_1_text.txt",
    ]


@pytest.mark.parametrize("wrong", ["", "a/b", "../esrgan", "a b"])
def test_an_invalid_slug_fails_before_the_submit(airflow_db, segmind_emulator, wrong):
    run = run_workflow(False, workflow="{{ params.wrong }}", params={"wrong": wrong}, inputs={"prompt": "x"})
    assert run.state == "failed"
    assert run.task("flow").try_number == 1
    assert segmind_emulator.stats.submits_attempted == 0


@pytest.mark.parametrize("inputs", [["a"], 7])
def test_inputs_that_are_not_a_dict_break_the_import(inputs):
    with pytest.raises(SegmindConfigError, match="must be a dict"):
        SegmindRunWorkflowOperator(task_id="flow", workflow="my-flow", inputs=inputs)


@pytest.mark.parametrize("arguments", [{"skip_existing": True}, {"if_exists": "skip"}])
def test_a_workflow_cannot_skip_existing_outputs(arguments):
    with pytest.raises(SegmindConfigError, match="cannot find the outputs of a workflow before it has run"):
        SegmindRunWorkflowOperator(task_id="flow", workflow="my-flow", destination="file:///tmp/x/", **arguments)


def test_each_output_has_a_sidecar(airflow_db, segmind_emulator, photos, tmp_path, deferrable):
    image = segmind_emulator.add_image(photos / "cat.jpg")
    run = run_workflow(
        deferrable, inputs={"image": image, "prompt": "x"}, destination=f"file://{tmp_path}/", sidecar=True
    )
    assert run.state == "success"
    assert {path.name for path in tmp_path.iterdir()} == {
        "flow_upscaled_image.png",
        "flow_upscaled_image.png.json",
        "flow_caption.txt",
        "flow_caption.txt.json",
    }


# --- videos and sounds of models -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "file", "kind"), [("video-model", "make.mp4", "video/mp4"), ("audio-model", "make.wav", "audio/wav")]
)
def test_videos_and_sounds_are_stored(airflow_db, segmind_emulator, tmp_path, deferrable, model, file, kind):
    with DAG("media", schedule=None) as dag:
        SegmindRunModelOperator(
            task_id="make",
            model=model,
            parameters={"prompt": "x"},
            destination=f"file://{tmp_path}/",
            deferrable=deferrable,
        )
    run = run_tasks(dag)
    [stored] = run.xcom("make")["stored"]
    assert (stored["content_type"], stored["width"]) == (kind, None)
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_an_error_page_instead_of_a_video_is_not_stored(airflow_db, segmind_emulator, tmp_path, deferrable):
    segmind_emulator.faults.add("output", "html")
    with DAG("media", schedule=None) as dag:
        SegmindRunModelOperator(
            task_id="make",
            model="video-model",
            parameters={"prompt": "x"},
            destination=f"file://{tmp_path}/out/",
            deferrable=deferrable,
            **RETRY,
        )
    run = run_tasks(dag)
    assert run.state == "failed"
    assert run.task("make").try_number == 1
    assert "it is not video/mp4: text/html" in run.log
    assert not (tmp_path / "out").exists()
