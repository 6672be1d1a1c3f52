"""SegmindRequestSensor in every mode, in pipelines that submit, wait and store in separate tasks."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator, SegmindRunModelOperator
from airflow_provider_segmind.sensors import base
from airflow_provider_segmind.sensors import segmind as sensors
from airflow_provider_segmind.sensors.segmind import SegmindRequestSensor
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.airflow_versions import no_reschedule
from tests.task_runner import run_tasks

HOUR = 3601.0
MODES = {
    "deferrable": {"deferrable": True, "poll_interval": 0.25},
    "poke": {"mode": "poke", "poke_interval": 0.25},
    "reschedule": {"mode": "reschedule", "poke_interval": 0.25},
}


@pytest.fixture(params=[pytest.param(name, marks=no_reschedule if name == "reschedule" else ()) for name in MODES])
def mode(request, quick_polls, quick_retries, monkeypatch):
    monkeypatch.setattr(sensors, "_REFUSED_FIRST", 0.1)
    # No scheduler runs here that could consider the task killed between two heartbeats.
    monkeypatch.setattr(base, "not_before", lambda: 0.0)
    return MODES[request.param]


@pytest.fixture
def short_tolerance(segmind_emulator, monkeypatch):
    """Set ``poll_error_timeout`` of the connection to 0.3 seconds."""
    value = {"conn_type": "segmind", "host": segmind_emulator.url, "password": segmind_emulator.api_key}
    monkeypatch.setenv("AIRFLOW_CONN_SEGMIND_DEFAULT", json.dumps({**value, "extra": {"poll_error_timeout": 0.3}}))


def submitted(emulator, photos, model="esrgan", **parameters):
    """Submit a request, as another DAG would, and return its id."""
    image = emulator.add_image(photos / "cat.jpg")
    with SegmindHook() as hook:
        request_id = hook.submit(model, {"image": image, **parameters}).request_id
    emulator.state.wait_for_pixels()
    return request_id


def wait_for(request_id, mode, **arguments):
    """Run a DAG of one sensor."""
    with DAG("wait_for", schedule=None) as dag:
        SegmindRequestSensor(
            task_id="wait",
            request_id=request_id,
            **{"model": "esrgan", "retries": 1, "retry_delay": timedelta(0), **mode, **arguments},
        )
    return run_tasks(dag)


@pytest.mark.parametrize("latency", [0.0, 1.2], ids=["ready", "running"])
def test_the_sensor_returns_the_result_of_the_request(airflow_db, segmind_emulator, photos, mode, latency):
    segmind_emulator.reset(latency=latency)
    request_id = submitted(segmind_emulator, photos)
    run = wait_for(request_id, mode)
    assert run.state == "success"
    value = run.xcom("wait")
    assert set(value) == {"request_id", "model", "status", "output", "outputs", "metrics"}
    assert (value["request_id"], value["model"], value["status"]) == (request_id, "esrgan", "COMPLETED")
    assert value["output"].startswith(segmind_emulator.url)
    assert value["metrics"]["cost"] > 0
    assert "completed: cost 0.005 USD" in run.log
    assert (run.deferrals > 0) is ("deferrable" in mode and latency > 0)
    assert run.task("wait").try_number == 1
    assert segmind_emulator.stats.submits_attempted == 1


@pytest.mark.parametrize("mapped", [False, True], ids=["one", "mapped"])
def test_submit_wait_and_store_in_three_tasks(airflow_db, segmind_emulator, photos, tmp_path, mode, mapped):
    segmind_emulator.reset(latency=0.7)
    images = [segmind_emulator.add_image(photos / name) for name in ("cat.jpg", "astronaut.png")]
    store = {"task_id": "store", "destination": f"file://{tmp_path}/out/"}
    submit = {"task_id": "submit", "wait_for_completion": False}
    wait = {"task_id": "wait", "model": "esrgan", **mode}
    with DAG("split", schedule=None) as dag:
        if mapped:
            ids = SegmindEsrganOperator.partial(**submit).expand(image=images).output
            results = SegmindRequestSensor.partial(**wait).expand(request_id=ids).output
            SegmindToObjectStorageOperator.partial(**store).expand(result=results)
        else:
            ids = SegmindEsrganOperator(**submit, image=images[0]).output
            SegmindToObjectStorageOperator(**store, result=SegmindRequestSensor(**wait, request_id=ids).output)
    run = run_tasks(dag)
    count = 2 if mapped else 1
    assert run.states() == {task: ["success"] * count for task in ("store", "submit", "wait")}
    for index in range(count) if mapped else [-1]:
        value = run.xcom("store", index)
        assert value["request_id"] == run.xcom("submit", index) == run.xcom("wait", index)["request_id"]
        [stored] = value["stored"]
        assert Path(stored["uri"].removeprefix("file://")).stat().st_size == stored["bytes"]
    assert len(list((tmp_path / "out").iterdir())) == count
    assert segmind_emulator.stats.submits_accepted == segmind_emulator.stats.billed == count


def test_an_expired_request_is_recovered_from_the_history(airflow_db, segmind_emulator, photos, mode):
    request_id = submitted(segmind_emulator, photos)
    segmind_emulator.advance(HOUR)
    run = wait_for(request_id, mode)
    assert run.state == "success"
    value = run.xcom("wait")
    assert value["output"].endswith(f"{request_id}.jpeg")
    assert value["metrics"]["cost"] == 0.005
    assert "the request history has its output" in run.log


@pytest.mark.usefixtures("short_tolerance")
def test_an_unknown_request_id_fails_without_a_retry(airflow_db, segmind_emulator, mode):
    run = wait_for("00000000-0000-4000-8000-000000000000", mode)
    assert run.state == "failed"
    assert run.task("wait").try_number == 1
    assert "Segmind has no record of this request" in run.log
    assert "the request history does not have its output either" in run.log
    assert run.log.count("does not have its output either") >= 3, "the record of a new request can appear late"


def test_a_request_that_expires_during_the_wait(airflow_db, segmind_emulator, photos):
    """The trigger's event reports that the record expired; the resumed task finds the output in the history."""
    request_id = submitted(segmind_emulator, photos)
    segmind_emulator.advance(HOUR)
    sensor = SegmindRequestSensor(task_id="wait", request_id=request_id)
    event = {"kind": "expired", "request_id": request_id}
    event["error"] = {"type": "SegmindRequestExpiredError", "request_id": request_id}
    assert sensor.execute_complete({}, event)["output"].endswith(f"{request_id}.jpeg")


@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_failed_request_fails_or_skips_the_sensor(airflow_db, segmind_emulator, photos, mode, soft_fail):
    segmind_emulator.faults.add("submit", "fail:CUDA error")
    run = wait_for(submitted(segmind_emulator, photos), mode, soft_fail=soft_fail)
    assert run.states() == {"wait": ["skipped" if soft_fail else "failed"]}
    assert run.task("wait").try_number == 1
    if not soft_fail:
        assert "The request ran and failed (HTTP 422): CUDA error" in run.log


def test_a_failed_request_is_reported_after_its_record_expired(airflow_db, segmind_emulator, photos, mode):
    segmind_emulator.faults.add("submit", "fail:CUDA error")
    request_id = submitted(segmind_emulator, photos)
    segmind_emulator.advance(HOUR)
    run = wait_for(request_id, mode)
    assert run.state == "failed"
    assert "The request ran and failed (HTTP 422): CUDA error" in run.log


@pytest.mark.parametrize("soft_fail", [False, True])
def test_the_sensor_fails_or_skips_after_its_timeout(airflow_db, segmind_emulator, photos, mode, soft_fail):
    segmind_emulator.faults.add("submit", "stuck")
    run = wait_for(submitted(segmind_emulator, photos), mode, timeout=1.0, soft_fail=soft_fail)
    assert run.states() == {"wait": ["skipped" if soft_fail else "failed"]}
    assert run.task("wait").try_number == 1  # as with all sensors, the timeout is for all tries together
    if not soft_fail:
        assert "The request did not finish in time" in run.log
        assert "Segmind has no cancel call" in run.log
    # The deadline is counted from the first poll, over all reschedules.
    assert 2 <= segmind_emulator.stats.polls <= 7


def test_the_sensor_tolerates_gateway_errors(airflow_db, segmind_emulator, photos, mode):
    request_id = submitted(segmind_emulator, photos)
    segmind_emulator.faults.add("status", "status:502", times=8)
    run = wait_for(request_id, mode)
    assert run.state == "success"
    assert run.task("wait").try_number == 1


@pytest.mark.parametrize("route", ["status", "result"])
@pytest.mark.parametrize("status", [401, 403, 422])
def test_the_sensor_tolerates_a_temporary_refusal(airflow_db, segmind_emulator, photos, mode, route, status):
    request_id = submitted(segmind_emulator, photos)
    segmind_emulator.faults.add(route, f"status:{status}", times=2)
    run = wait_for(request_id, mode)
    assert run.state == "success"
    assert run.task("wait").try_number == 1


@pytest.mark.usefixtures("short_tolerance")
def test_a_permanent_refusal_fails_one_try_only(airflow_db, segmind_emulator, photos, mode):
    """The task is retried: the request is paid for, and the next try can have another key."""
    request_id = submitted(segmind_emulator, photos)
    segmind_emulator.faults.add("status", "status:401")
    run = wait_for(request_id, mode)
    assert run.state == "failed"
    assert run.task("wait").try_number == 2
    assert "Segmind refused the API key" in run.log
    assert 4 <= segmind_emulator.stats.polls <= 20


def test_base64_output_is_not_pushed_to_xcom(airflow_db, segmind_emulator, photos, tmp_path, mode):
    request_id = submitted(segmind_emulator, photos, "nomos-upscaler", base64=True)
    with DAG("inline", schedule=None) as dag:
        sensor = SegmindRequestSensor(task_id="wait", request_id=request_id, model="nomos-upscaler", **mode)
        SegmindToObjectStorageOperator(task_id="store", result=sensor.output, destination=f"file://{tmp_path}/")
    run = run_tasks(dag)
    assert run.xcom("wait")["output"] is None
    [stored] = run.xcom("store")["stored"]
    assert (stored["content_type"], stored["width"]) == ("image/png", 1200)


@pytest.mark.parametrize("wrong", ["", "../../v1/get-user-credits", {"request_id": "x"}, None])
def test_an_invalid_request_id_breaks_the_import(airflow_db, segmind_emulator, wrong):
    with pytest.raises(SegmindConfigError, match="is not a Segmind request id"):
        SegmindRequestSensor(task_id="wait", request_id=wrong)


@pytest.mark.parametrize("template", ["{{ '' }}", "{{ 'a/b' }}"])
def test_a_template_that_renders_to_an_invalid_request_id_fails_the_task(airflow_db, segmind_emulator, mode, template):
    run = wait_for(template, mode)
    assert run.state == "failed"
    assert run.task("wait").try_number == 1
    assert "is not a Segmind request id" in run.log
    assert segmind_emulator.stats.polls == 0


def test_reschedules_are_at_least_five_seconds_apart():
    sensor = SegmindRequestSensor(task_id="wait", request_id="r-1", mode="reschedule", poke_interval=1)
    assert 5 < sensor._get_next_poke_interval(0.0, lambda: 0.0, 1) <= 6.1
    sensor = SegmindRequestSensor(task_id="wait", request_id="r-1", mode="poke", poke_interval=1)
    assert sensor._get_next_poke_interval(0.0, lambda: 0.0, 1) == 1


# --- the transfer, by request id -------------------------------------------------------------------------------------


def stored_by_id(request_id, tmp_path, **arguments):
    """Run a DAG of one transfer by request id."""
    with DAG("by_id", schedule=None) as dag:
        SegmindToObjectStorageOperator(
            task_id="store",
            request_id=request_id,
            destination=f"file://{tmp_path}/out/",
            **{"model": "esrgan", "retries": 1, "retry_delay": timedelta(0), **arguments},
        )
    return run_tasks(dag)


@pytest.mark.parametrize("age", [0.0, HOUR], ids=["recent", "expired"])
def test_the_transfer_fetches_by_request_id(airflow_db, segmind_emulator, photos, tmp_path, age):
    request_id = submitted(segmind_emulator, photos)
    segmind_emulator.advance(age)
    run = stored_by_id(request_id, tmp_path)
    assert run.state == "success"
    value = run.xcom("store")
    assert (value["request_id"], value["model"]) == (request_id, "esrgan")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["store.jpg"]


def test_the_transfer_fails_for_an_unknown_request_id(airflow_db, segmind_emulator, tmp_path):
    run = stored_by_id("00000000-0000-4000-8000-000000000000", tmp_path)
    assert run.state == "failed"
    assert run.task("store").try_number == 1
    assert "the request history does not have its output either" in run.log
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("status", [401, 403, 422])
def test_the_transfer_is_retried_if_the_result_is_refused(
    airflow_db, segmind_emulator, photos, tmp_path, quick_retries, status
):
    request_id = submitted(segmind_emulator, photos)
    segmind_emulator.faults.add("result", f"status:{status}", times=1)
    run = stored_by_id(request_id, tmp_path)
    assert run.state == "success"
    assert run.task("store").try_number == 2


def test_the_transfer_is_retried_while_the_request_runs(airflow_db, segmind_emulator, quick_retries, photos, tmp_path):
    segmind_emulator.faults.add("submit", "stuck")
    run = stored_by_id(submitted(segmind_emulator, photos), tmp_path)
    assert run.task("store").try_number == 2
    assert "the request is not COMPLETED but PROCESSING" in run.log


def test_another_dag_waits_and_stores_by_request_id(airflow_db, segmind_emulator, tmp_path, mode):
    """Another DAG needs only the request id."""
    with DAG("first", schedule=None) as first:
        SegmindRunModelOperator(
            task_id="submit", model="video-model", parameters={"prompt": "a cat"}, wait_for_completion=False
        )
    request_id = run_tasks(first).xcom("submit")
    with DAG("second", schedule=None, params={"request_id": request_id}) as second:
        wait = SegmindRequestSensor(task_id="wait", request_id="{{ params.request_id }}", **mode)
        store = SegmindToObjectStorageOperator(
            task_id="store", request_id="{{ params.request_id }}", destination=f"file://{tmp_path}/out/"
        )
        wait >> store
    run = run_tasks(second)
    assert run.state == "success"
    assert run.xcom("wait")["outputs"][0]["content_type"] == "video/mp4"
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["store.mp4"]


@pytest.mark.parametrize("arguments", [{}, {"result": {}, "request_id": "r-1"}])
def test_the_transfer_takes_a_result_or_a_request_id(arguments):
    with pytest.raises(SegmindConfigError, match="exactly one of result= and request_id="):
        SegmindToObjectStorageOperator(task_id="store", destination="file:///x/", **arguments)
