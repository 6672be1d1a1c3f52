"""SegmindRunWorkflowOperator, in both modes; and models whose output is a video or a sound."""

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


def contents(stored):
    return {item["name"]: Path(item["uri"].removeprefix("file://")) for item in stored}


def test_its_outputs_have_names(airflow_db, segmind_emulator, photos, tmp_path, deferrable):
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
    paths = contents(value["stored"])
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


def test_an_object_for_a_single_output(airflow_db, segmind_emulator, photos, tmp_path, deferrable):
    image = segmind_emulator.add_image(photos / "cat.jpg")
    run = run_workflow(deferrable, inputs={"image": image}, destination=f"file://{tmp_path}/cat.png")
    assert [item["uri"] for item in run.xcom("flow")["stored"]] == [f"file://{tmp_path}/cat.png"]


def test_text_alone_needs_no_destination(airflow_db, segmind_emulator, deferrable):
    run = run_workflow(deferrable, inputs={"prompt": "hello"})
    value = run.xcom("flow")
    assert (value["named"], value["output"], value["outputs"]) == ({"text": "echo: hello"}, None, [])


def test_the_slug_of_a_model_is_a_workflow_all_the_same(airflow_db, segmind_emulator, deferrable, tmp_path):
    """A workflow's slug is its author's choice, so the rules of the model's page do not hold."""
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


def test_a_lost_response_that_the_history_does_not_show_asks_a_person(airflow_db, segmind_emulator, deferrable):
    """The vendor does not say under which name the history lists a workflow: in doubt nothing is paid twice."""
    segmind_emulator.faults.add("submit", "drop_after", times=1)
    segmind_emulator.faults.add("history", "status:500")
    run = run_workflow(deferrable, inputs={"prompt": "x"}, lost_submit_wait=0.0)
    assert run.state == "failed"
    assert run.task("flow").try_number == 2  # the next try searches again
    assert "The response to a submit was lost" in run.log
    assert segmind_emulator.stats.submits_accepted == 1


def test_a_retry_takes_over_what_is_there(airflow_db, segmind_emulator, photos, tmp_path, deferrable):
    """The first try cannot store: the second stores what was paid for."""
    image = segmind_emulator.add_image(photos / "cat.jpg")
    segmind_emulator.faults.add("output", "status:503", times=6)
    run = run_workflow(deferrable, inputs={"image": image}, destination=f"file://{tmp_path}/out/")
    assert run.state == "success"
    assert run.task("flow").try_number == 2
    assert segmind_emulator.stats.submits_accepted == 1
    value = run.xcom("flow")
    assert [item["name"] for item in value["stored"]] == ["upscaled_image"]


def test_split_mapped_and_stored_by_name(airflow_db, segmind_emulator, photos, tmp_path, deferrable):
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
def test_a_slug_that_is_none(airflow_db, segmind_emulator, wrong):
    run = run_workflow(False, workflow="{{ params.wrong }}", params={"wrong": wrong}, inputs={"prompt": "x"})
    assert run.state == "failed"
    assert run.task("flow").try_number == 1
    assert segmind_emulator.stats.submits_attempted == 0


@pytest.mark.parametrize("inputs", [["a"], 7])
def test_inputs_that_are_no_dict_break_the_import(inputs):
    with pytest.raises(SegmindConfigError, match="must be a dict"):
        SegmindRunWorkflowOperator(task_id="flow", workflow="my-flow", inputs=inputs)


@pytest.mark.parametrize("arguments", [{"skip_existing": True}, {"if_exists": "skip"}])
def test_what_has_no_name_yet_cannot_be_searched_for(arguments):
    with pytest.raises(SegmindConfigError, match="names its outputs once they are there"):
        SegmindRunWorkflowOperator(task_id="flow", workflow="my-flow", destination="file:///tmp/x/", **arguments)


def test_a_sidecar_for_each_output(airflow_db, segmind_emulator, photos, tmp_path, deferrable):
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


# --- videos and sounds of models ----------------------------------------------------------------------------------


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


def test_an_error_page_in_place_of_a_video(airflow_db, segmind_emulator, tmp_path, deferrable):
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
    assert "it is no video/mp4: text/html" in run.log
    assert not (tmp_path / "out").exists()
