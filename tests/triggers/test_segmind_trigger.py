"""SegmindRequestTrigger: every argument is serialized, no secret is, and each end of a request is its own event."""

from __future__ import annotations

import asyncio
import inspect
import json
import time

import pytest
from airflow.triggers.base import TaskSuccessEvent

from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.polling.drivers import wait_for_request
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.triggers.segmind import SegmindRequestTrigger

DISTINCT = {
    "request_id": "r-1",
    "segmind_conn_id": "c",
    "model": "esrgan",
    "deadline": 4e9,
    "submitted_at": 3e9,
    "poll_interval": 7.5,
    "input_size": [3, 2],
    "queue_timeout": 9.5,
    "not_before": 2.5,
    "inline": True,
    "expected_duration": 11.5,
    "end_from_trigger": True,
    "do_xcom_push": False,
    "request_info": {"input": {"sha256": "ab"}},
}


def test_serialize_has_every_argument_of_the_constructor():
    path, kwargs = SegmindRequestTrigger(**DISTINCT).serialize()
    assert path == "airflow_provider_segmind.triggers.segmind.SegmindRequestTrigger"
    assert set(kwargs) == set(inspect.signature(SegmindRequestTrigger.__init__).parameters) - {"self", "unknown"}
    assert kwargs == DISTINCT
    assert SegmindRequestTrigger(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)


def test_arguments_of_another_version_are_ignored_and_logged(capsys):
    trigger = SegmindRequestTrigger(**DISTINCT, from_another_version={"a": [1]})
    assert trigger.serialize()[1] == DISTINCT
    assert "from_another_version" in capsys.readouterr().out


def test_the_submit_time_defaults_to_the_creation_of_the_trigger():
    _, kwargs = SegmindRequestTrigger("r-1", None, "esrgan", 4e9).serialize()
    assert kwargs["submitted_at"] == pytest.approx(time.time(), abs=5)


def fire(trigger):
    async def collect():
        return [event.payload async for event in trigger.run()]

    [payload] = asyncio.run(collect())
    return json.loads(json.dumps(payload))


@pytest.fixture
def wait_for(airflow_db, segmind_emulator):
    def run(model="echo-model", parameters=None, *, timeout=30.0, before=lambda request_id: None, **kwargs):
        with SegmindHook() as hook:
            request_id = hook.submit(model, parameters or {"prompt": "x"}).request_id
        before(request_id)
        now = time.time()
        submitted_at = now - kwargs.pop("age", 0.0)
        trigger = SegmindRequestTrigger(
            request_id,
            "segmind_default",
            model,
            now + timeout,
            submitted_at,
            kwargs.pop("poll_interval", 0.25),
            **kwargs,
        )
        _, serialized = trigger.serialize()
        return fire(SegmindRequestTrigger(**json.loads(json.dumps(serialized))))

    return run


@pytest.fixture
def short_error_timeout(segmind_emulator, monkeypatch):
    """Set a connection that tolerates refusals for one second."""
    value = {"conn_type": "segmind", "host": segmind_emulator.url, "password": segmind_emulator.api_key}
    value["extra"] = {"poll_error_timeout": 1}
    monkeypatch.setenv("AIRFLOW_CONN_SEGMIND_DEFAULT", json.dumps(value))


def test_completed(wait_for, segmind_emulator, photos):
    payload = wait_for(
        "esrgan",
        {"image": segmind_emulator.add_image(photos / "cat.jpg")},
        input_size=[300, 200],
        request_info={"a": 1},
    )
    assert payload["kind"] == "completed"
    assert payload["result"]["output"].startswith(segmind_emulator.url)
    assert payload["input_size"] == [300, 200]
    assert payload["request_info"] == {"a": 1}
    assert segmind_emulator.api_key not in json.dumps(payload)


def test_a_base64_output_is_left_to_the_task(wait_for, segmind_emulator, photos):
    image = segmind_emulator.add_image(photos / "cat.jpg")
    payload = wait_for("nomos-upscaler", {"image": image, "base64": True})
    assert payload["kind"] == "fetch"
    assert len(json.dumps(payload)) < 500


def test_failed(wait_for, segmind_emulator):
    segmind_emulator.faults.add("submit", "fail:out of memory")
    payload = wait_for()
    assert (payload["kind"], payload["error"]["detail"]) == ("failed", "out of memory")


def test_expired(wait_for, segmind_emulator):
    assert wait_for(before=lambda request_id: segmind_emulator.advance(3601), age=3601)["kind"] == "expired"


def test_an_id_that_is_not_available_on_every_server_yet(wait_for, segmind_emulator):
    segmind_emulator.faults.add("status", "status:404", times=2)
    assert wait_for()["kind"] == "fetch"


def test_timeout(wait_for, segmind_emulator):
    segmind_emulator.faults.add("submit", "stuck")
    started = time.monotonic()
    payload = wait_for(timeout=1.0)
    assert payload["kind"] == "timeout"
    assert time.monotonic() - started < 30


def test_an_unknown_status(wait_for, segmind_emulator):
    segmind_emulator.faults.add("status", "unknown_status")
    payload = wait_for()
    assert payload["kind"] == "error"
    assert segmind_emulator.stats.polls <= 1


REFUSALS = [400, 401, 403, 404, 405, 406, 410, 422]


@pytest.mark.parametrize("status", REFUSALS)
@pytest.mark.parametrize("route", ["status", "result"])
def test_a_short_refusal_is_tolerated(wait_for, segmind_emulator, route, status):
    """A deployment, a firewall or a proxy refuses polls for a moment."""
    segmind_emulator.faults.add(route, f"status:{status}", times=2)
    assert wait_for()["kind"] == "fetch"


@pytest.mark.parametrize("status", REFUSALS)
def test_a_refusal_that_lasts_ends_the_wait_with_a_retryable_error(
    wait_for, segmind_emulator, short_error_timeout, status
):
    segmind_emulator.faults.add("status", f"status:{status}")
    payload = wait_for()
    assert payload["kind"] == ("expired" if status == 404 else "error")
    assert payload["error"]["retryable"]
    assert payload["error"]["status"] == status
    assert 1 < segmind_emulator.stats.polls < 10


def test_completed_without_output_is_an_error(wait_for, segmind_emulator):
    segmind_emulator.faults.add("submit", "no_output")
    payload = wait_for()
    assert payload["kind"] == "error"
    assert payload["error"]["type"] == "SegmindMissingOutputError"


@pytest.mark.parametrize(
    "fault", ["status:500", "status:502", "status:429", "garbage", "drop_before", "drop_after", "html"]
)
def test_transient_errors_are_tolerated(wait_for, segmind_emulator, fault):
    segmind_emulator.faults.add("status", fault, times=1)
    segmind_emulator.faults.add("result", fault, times=1)
    assert wait_for()["kind"] == "fetch"  # the model returns text, which the task fetches itself
    assert segmind_emulator.stats.submits_attempted == 1


def test_a_missing_connection_is_an_event(airflow_db):
    payload = fire(SegmindRequestTrigger("r-1", "nowhere", "esrgan", time.time() + 5))
    assert payload["kind"] == "error"
    assert payload["error"]["type"] == "SegmindConfigError"
    assert payload["error"]["retryable"], "the request is billed: another try may still fetch it"


def test_the_loop_is_not_blocked_and_the_client_is_closed(airflow_db, segmind_emulator):
    """Ten waits in one event loop: the connection is read with the async API, and the loop stays responsive."""
    segmind_emulator.reset(latency=0.6)

    async def run():
        with SegmindHook() as hook:
            ids = [hook.submit("echo-model", {"prompt": "x"}).request_id for _ in range(10)]
        now, worst = time.time(), 0.0

        async def tick():
            nonlocal worst
            while True:
                before = time.monotonic()
                await asyncio.sleep(0.01)
                worst = max(worst, time.monotonic() - before - 0.01)

        ticking = asyncio.create_task(tick())

        async def one(request_id):
            trigger = SegmindRequestTrigger(request_id, "segmind_default", "echo-model", now + 20, now, 0.25)
            return [event.payload["kind"] async for event in trigger.run()]

        kinds = await asyncio.gather(*map(one, ids))
        ticking.cancel()
        return kinds, worst

    kinds, worst = asyncio.run(run())
    assert kinds == [["fetch"]] * 10
    assert worst < 2  # seconds; the synchronous API would block for ever


def test_on_kill_reports_the_open_request(capsys):
    asyncio.run(SegmindRequestTrigger("r-77", "c", "esrgan", 4e9).on_kill())
    log = capsys.readouterr().out
    for text in ("r-77", "no cancel call", "billed"):
        assert text in log


def test_a_task_process_and_a_trigger_return_the_same_event(airflow_db, segmind_emulator):
    with SegmindHook() as hook:
        request_id = hook.submit("echo-model", {"prompt": "x"}).request_id
        watch = Watch(request_id, "echo-model", time.time(), time.time() + 10, 0.25)
        plain = wait_for_request(hook, watch).payload()
    trigger = SegmindRequestTrigger(request_id, "segmind_default", "echo-model", time.time() + 10, time.time(), 0.25)
    assert fire(trigger) == json.loads(json.dumps(plain))


@pytest.mark.parametrize("fault", [None, "unknown_status"])
def test_no_event_before_the_scheduler_has_seen_the_deferral(airflow_db, segmind_emulator, fault):
    if fault:
        segmind_emulator.faults.add("status", fault)
    with SegmindHook() as hook:
        request_id = hook.submit("echo-model", {"prompt": "x"}).request_id
    now = time.time()
    trigger = SegmindRequestTrigger(
        request_id, "segmind_default", "echo-model", now + 20, now, 0.25, not_before=now + 1.5
    )
    trigger.trigger_id = 7  # as a triggerer sets it
    fire(trigger)
    assert time.time() >= now + 1.5
    assert segmind_emulator.stats.polls == 1, "a poll before the event may be fired is a wasted poll"


# --- end_from_trigger ------------------------------------------------------------------------------------------------


@pytest.fixture
def events_of(wait_for, monkeypatch):
    """Return the events as a triggerer receives them."""

    def run(*args, **kwargs):
        def collect(trigger):
            async def events():
                trigger.trigger_id = 1  # a triggerer sets it; dag.test() does not
                return [event async for event in trigger.run()]

            return asyncio.run(events())

        monkeypatch.setitem(globals(), "fire", collect)
        return wait_for(*args, end_from_trigger=True, **kwargs)

    return run


def test_success_ends_the_task(events_of, segmind_emulator, photos):
    image = segmind_emulator.add_image(photos / "cat.jpg")
    [event] = events_of("esrgan", {"image": image}, not_before=time.time() + 60, do_xcom_push=False)
    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms is None  # Airflow would pass such an XCom to downstream tasks as text


def test_a_result_that_cannot_be_pushed_resumes_the_task(events_of, segmind_emulator, photos):
    """This test has no supervisor that accepts XComs; tests/chaos has a real one."""
    [event] = events_of("esrgan", {"image": segmind_emulator.add_image(photos / "cat.jpg")})
    assert event.payload["kind"] == "completed"


@pytest.mark.parametrize(("fault", "kind"), [("fail:out of memory", "failed"), ("stuck", "timeout")])
def test_failures_resume_the_task(events_of, segmind_emulator, fault, kind):
    segmind_emulator.faults.add("submit", fault)
    [event] = events_of(timeout=1.0)
    assert not isinstance(event, TaskSuccessEvent)
    assert event.payload["kind"] == kind


def test_a_base64_output_resumes_the_task(events_of, segmind_emulator, photos):
    image = segmind_emulator.add_image(photos / "cat.jpg")
    [event] = events_of("nomos-upscaler", {"image": image, "base64": True}, inline=True)
    assert event.payload["kind"] == "fetch"


def test_outside_a_triggerer_the_task_is_resumed(wait_for, segmind_emulator, photos):
    """dag.test() passes every event to the operator."""
    image = segmind_emulator.add_image(photos / "cat.jpg")
    assert wait_for("esrgan", {"image": image}, end_from_trigger=True)["kind"] == "completed"
