"""``@task.segmind`` with Airflow's own task runner: the function runs once, and the request is billed once."""

from __future__ import annotations

import inspect
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_segmind.decorators.segmind import segmind_task
from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.get_provider_info import get_provider_info
from airflow_provider_segmind.operators.segmind import SegmindRunModelOperator
from airflow_provider_segmind.protocol.data_uris import data_uri
from airflow_provider_segmind.storage.names import stem_of
from tests.airflow_versions import needs_task_state_store, no_new_try, task_decorators
from tests.task_runner import run_tasks

RETRY = {"retries": 1, "retry_delay": timedelta(0)}


@pytest.fixture(params=[True, False], ids=["deferrable", "plain"])
def deferrable(request, quick_polls, quick_retries):
    return request.param


@pytest.fixture
def calls(tmp_path):
    """Return the file in which a function records its calls; the function can run in another process."""
    return tmp_path / "calls"


def record_call(calls: Path, text: Any = "") -> int:
    """Append a call to the file, and return the number of calls."""
    with calls.open("a") as file:
        file.write(f"{text}\n")
    return len(calls.read_text().splitlines())


def test_the_decorator_is_registered_with_airflow():
    [entry] = get_provider_info()["task-decorators"]
    assert entry["name"] == "segmind"
    assert task_decorators()["segmind"] is segmind_task
    assert task.segmind is segmind_task


def test_the_function_returns_the_parameters(airflow_db, segmind_emulator, photos, tmp_path, calls, deferrable):
    segmind_emulator.reset(latency=0.7)
    photo = segmind_emulator.add_image(photos / "cat.jpg")

    with DAG("taskflow", schedule=None, params={"scale": 4}) as dag:

        @task.segmind(model="{{ 'esrgan' }}", destination=f"file://{tmp_path}/{{{{ ds }}}}/", deferrable=deferrable)
        def upscale(image: str, scale: str, ti: Any = None) -> dict[str, Any]:
            """Upscale one image."""
            record_call(calls, f"{ti.task_id} {scale}")
            return {"image": image, "scale": scale, "output_format": "png"}

        @task
        def size(result: dict[str, Any]) -> list[int]:
            return [result["stored"][0]["width"], result["stored"][0]["height"]]

        size(upscale(photo, scale="{{ params.scale }}"))

    assert dag.task_dict["upscale"].doc_md == "Upscale one image."
    run = run_tasks(dag)
    assert run.state == "success"
    assert run.xcom("size") == [1200, 800]
    value = run.xcom("upscale")
    assert set(value) == {"request_id", "model", "status", "output", "outputs", "metrics", "stored"}
    assert value["stored"][0]["uri"].endswith("/upscale.png")
    assert (run.deferrals > 0) is deferrable
    assert calls.read_text() == "upscale 4\n", "the function must not run again after the wait"
    [request] = segmind_emulator.requests
    assert request.parameters == {"image": photo, "scale": 4, "output_format": "png", "quality": 95}
    assert run.xcom("upscale", key="request_id") == value["request_id"] == request.request_id
    assert run.xcom("upscale", key="output") is None


@pytest.mark.parametrize("inside", [False, True], ids=["url", "data uri"])
def test_placeholders_and_sidecar_are_correct_after_the_wait(
    airflow_db, segmind_emulator, photos, tmp_path, calls, deferrable, inside
):
    """A resumed task has no parameters; the request record keeps what the destination and the sidecar need."""
    content = (photos / "cat.jpg").read_bytes()
    image = data_uri(content) if inside else segmind_emulator.add_image(photos / "cat.jpg") + "?signature=secret"
    model, format_, quality = (
        ("nomos-upscaler", "image_format", "image_quality") if inside else ("esrgan", "output_format", "quality")
    )
    with DAG("taskflow_named", schedule=None) as dag:

        @task.segmind(
            model=model,
            destination=f"file://{tmp_path}/out/{{stem}}.{{ext}}",
            deferrable=deferrable,
            skip_existing=True,
            sidecar=True,
        )
        def upscale() -> dict[str, Any]:
            record_call(calls)
            return {"image": image, format_: "jpeg", quality: 80}

        upscale()
    run = run_tasks(dag)
    assert run.state == "success"
    stem = stem_of(image, otherwise="")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{stem}.jpg", f"{stem}.jpg.json"}
    sidecar = (tmp_path / "out" / f"{stem}.jpg.json").read_text()
    shown = json.loads(sidecar)["parameters"]
    assert (shown[format_], shown[quality]) == ("jpeg", 80)
    assert shown["image"].startswith("sha256:" if inside else segmind_emulator.url)
    assert "secret" not in sidecar
    # Another run submits nothing.
    again = run_tasks(dag)
    assert again.xcom("upscale")["skipped"] is True
    assert segmind_emulator.stats.submits_attempted == 1
    assert len(calls.read_text().splitlines()) == 2


def test_the_return_value_is_not_rendered(airflow_db, segmind_emulator, deferrable):
    """It may contain a stranger's text, which could read connections and variables if it were rendered."""
    with DAG("taskflow_text", schedule=None) as dag:

        @task.segmind(model="echo-model", deferrable=deferrable)
        def echo() -> dict[str, str]:
            return {"prompt": "{{ conn.segmind_default.password }}"}

        echo()
    assert run_tasks(dag).state == "success"
    assert segmind_emulator.requests[0].parameters == {"prompt": "{{ conn.segmind_default.password }}"}


def test_the_task_can_be_mapped_and_overridden(airflow_db, segmind_emulator, photos, tmp_path, deferrable):
    photos = [segmind_emulator.add_image(photos / name) for name in ("cat.jpg", "astronaut.png")]
    with DAG("taskflow_mapped", schedule=None) as dag:

        @task.segmind(model="esrgan", destination=f"file://{tmp_path}/", deferrable=deferrable)
        def upscale(image: str, scale: int) -> dict[str, Any]:
            return {"image": image, "scale": scale}

        upscale.partial(scale=2).expand(image=photos)
        nomos = upscale.override(task_id="other", model="echo-model", destination=None)
        nomos(image="x", scale=1)

    run = run_tasks(dag)
    assert run.states() == {"other": ["success"], "upscale": ["success", "success"]}
    assert [run.xcom("upscale", index)["stored"][0]["width"] for index in (0, 1)] == [600, 512]
    assert run.xcom("other")["model"] == "echo-model"
    assert {path.name for path in tmp_path.iterdir()} == {"upscale_0.jpg", "upscale_1.jpg"}
    assert segmind_emulator.stats.billed == 3


def test_multiple_outputs_are_pushed_by_name(airflow_db, segmind_emulator, photos, deferrable):
    photo = segmind_emulator.add_image(photos / "cat.jpg")
    with DAG("taskflow_multiple", schedule=None) as dag:

        @task.segmind(model="esrgan", deferrable=deferrable, multiple_outputs=True)
        def upscale() -> dict[str, Any]:
            return {"image": photo}

        @task
        def show(url: str) -> str:
            return url

        show(upscale()["output"])
    run = run_tasks(dag)
    assert run.state == "success"
    assert run.xcom("show") == run.xcom("upscale")["output"]


@no_new_try
def test_a_retry_reattaches_to_the_request(airflow_db, segmind_emulator, photos, tmp_path, calls, deferrable):
    photo = segmind_emulator.add_image(photos / "cat.jpg")
    segmind_emulator.faults.add("output", "status:503", times=6)
    with DAG("taskflow_retry", schedule=None) as dag:

        @task.segmind(model="esrgan", destination=f"file://{tmp_path}/out/", deferrable=deferrable, **RETRY)
        def upscale() -> dict[str, Any]:
            record_call(calls)
            return {"image": photo}

        upscale()
    run = run_tasks(dag)
    assert (run.state, run.task("upscale").try_number) == ("success", 2)
    assert len(calls.read_text().splitlines()) == 2, "the function runs once in each try"
    assert segmind_emulator.stats.submits_accepted == segmind_emulator.stats.billed == 1


@needs_task_state_store
def test_changed_parameters_are_submitted_again_and_logged(
    airflow_db, segmind_emulator, photos, tmp_path, calls, deferrable
):
    photo = segmind_emulator.add_image(photos / "cat.jpg")
    segmind_emulator.faults.add("output", "status:503", times=6)
    with DAG("taskflow_changes", schedule=None) as dag:

        @task.segmind(model="esrgan", destination=f"file://{tmp_path}/out/", deferrable=deferrable, **RETRY)
        def upscale() -> dict[str, Any]:
            return {"image": photo, "quality": 80 + record_call(calls)}

        upscale()
    run = run_tasks(dag)
    assert run.state == "success"
    assert "The parameters changed: request" in run.log
    assert "is no longer used, and is billed if it completes" in run.log
    assert segmind_emulator.stats.submits_accepted == 2


def test_the_function_runs_again_after_a_rate_limit(airflow_db, segmind_emulator, calls, deferrable):
    segmind_emulator.faults.add("submit", "status:429", times=1, headers={"Retry-After": "1"})
    with DAG("taskflow_limit", schedule=None) as dag:

        @task.segmind(model="echo-model", deferrable=deferrable, timeout=30)
        def echo() -> dict[str, str]:
            record_call(calls)
            return {"prompt": "x"}

        echo()
    run = run_tasks(dag)
    assert (run.state, run.task("echo").try_number) == ("success", 1)
    assert len(calls.read_text().splitlines()) == (2 if deferrable else 1)
    assert segmind_emulator.stats.submits_accepted == 1


def test_a_task_that_does_not_wait_returns_the_request_id(airflow_db, segmind_emulator, deferrable):
    with DAG("taskflow_submit", schedule=None) as dag:

        @task.segmind(model="echo-model", wait_for_completion=False, deferrable=deferrable)
        def echo() -> dict[str, str]:  # the annotation does not imply multiple_outputs
            return {"prompt": "x"}

        echo()
    run = run_tasks(dag)
    assert run.xcom("echo") == segmind_emulator.requests[0].request_id


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([{"image": "https://x.y/a.png"}], "returned 1 sets of parameters"),
        (None, "must return the parameters of esrgan as a dict, not NoneType"),
        ("https://x.y/a.png", "as a dict, not str"),
        ({}, "image: Field required"),
        ({"image": "https://x.y/a.png", "size": 4}, "size: Extra inputs are not permitted"),
        ({"image": "/etc/passwd"}, "must be an http(s) URL"),
    ],
)
def test_an_invalid_return_value_fails_before_the_submit(airflow_db, segmind_emulator, returned, message):
    with DAG("taskflow_wrong", schedule=None) as dag:

        @task.segmind(model="esrgan", **RETRY)
        def upscale() -> Any:
            return returned

        upscale()
    run = run_tasks(dag)
    assert (run.state, run.task("upscale").try_number) == ("failed", 1)
    assert message in run.log
    assert segmind_emulator.stats.submits_attempted == 0


def test_an_error_of_the_function_is_retried(airflow_db, segmind_emulator, calls):
    with DAG("taskflow_error", schedule=None) as dag:

        @task.segmind(model="echo-model", **RETRY)
        def echo() -> dict[str, str]:
            if record_call(calls) == 1:
                raise OSError("not yet")
            return {"prompt": "x"}

        echo()
    run = run_tasks(dag)
    assert (run.state, run.task("echo").try_number) == ("success", 2)


def test_invalid_arguments_of_the_decorator_break_the_import():
    with DAG("taskflow_mistakes", schedule=None):

        def upscale() -> dict[str, Any]:
            return {}

        with pytest.raises(SegmindConfigError, match="the function returns them"):
            task.segmind(model="esrgan", parameters={})(upscale)()
        with pytest.raises(SegmindConfigError, match="is not a URI"):
            task.segmind(model="esrgan", destination="out")(upscale)()
        with pytest.raises(TypeError, match="model"):
            task.segmind(upscale)


def typed(url: str) -> None:
    """Check with mypy that a decorated function keeps the types of its parameters."""

    @segmind_task(model="esrgan", destination="file:///tmp/")
    def upscale(image: str, scale: int = 2) -> dict[str, Any]:
        return {"image": image, "scale": scale}

    upscale(url, scale=4)
    upscale.partial(scale=2).expand(image=[url])
    upscale(1)  # type: ignore[arg-type]


def test_the_decorator_has_the_defaults_of_the_operator():
    """Editors need an explicit signature, so the defaults stand at two places."""
    ours = inspect.signature(segmind_task).parameters
    theirs = inspect.signature(SegmindRunModelOperator.__init__).parameters
    shared = set(ours) & set(theirs) - {"kwargs", "model", "deferrable"}
    assert len(shared) >= 7
    assert {name: ours[name].default for name in shared} == {name: theirs[name].default for name in shared}
