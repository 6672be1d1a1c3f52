"""The rules of the poll loop, run without network and with the clock of the test."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.exceptions import (
    SegmindConfigError,
    SegmindConnectionError,
    SegmindError,
    SegmindGatewayError,
    SegmindMalformedResponseError,
    SegmindMissingOutputError,
    SegmindRateLimitedError,
    SegmindRequestExpiredError,
    SegmindUnknownStatusError,
)
from airflow_provider_segmind.polling.durations import Durations
from airflow_provider_segmind.polling.loop import Pause, Watch
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.wire import Metrics, RequestState, RequestStatus
from tests.wire_examples import response, wire_body, wire_response

ID = wire_body("submit_queued")["request_id"]
NOW = 1_800_000_000.0


class Driver:
    """Run a poll loop with scripted responses; pauses move the clock."""

    def __init__(self, script, *, timeout=600.0, started=NOW, now=NOW, **watch):
        self.now, self.script, self.pauses, self.calls, self.states = now, list(script), [], [], []
        self.watch = Watch(
            ID,
            watch.pop("model", "esrgan"),
            started,
            started + timeout,
            on_progress=lambda state, seconds: self.states.append(state),
            **watch,
        )

    def run(self):
        steps = self.watch.steps(lambda: self.now)
        try:
            step = next(steps)
            while True:
                if isinstance(step, Pause):
                    self.pauses.append(step.seconds)
                    self.now += step.seconds
                    step = steps.send(None)
                    continue
                self.calls.append(step.name)
                scripted = self.script.pop(0) if self.script else status("PROCESSING")
                step = steps.throw(scripted) if isinstance(scripted, Exception) else steps.send(scripted)
        except StopIteration as end:
            return end.value.payload()


def status(state, error=""):
    return RequestStatus(request_id=ID, state=RequestState(state), metrics=Metrics(), error=error)


def result(name="result_esrgan_completed"):
    return calls.get_result(ID, model="esrgan").parse(wire_response(name))


def test_queued_processing_completed():
    driver = Driver([status("QUEUED"), status("PROCESSING"), status("COMPLETED"), result()])
    payload = driver.run()
    assert payload["kind"] == "completed"
    assert payload["result"]["output"].startswith("https://")
    assert driver.calls == ["get_status", "get_status", "get_status", "get_result"]
    assert driver.states == ["QUEUED", "PROCESSING"]


def test_a_base64_output_is_left_to_the_task():
    payload = Driver([status("COMPLETED"), result("result_nomos_base64")]).run()
    assert payload["kind"] == "fetch"
    assert "result" not in payload


def test_an_inline_output_is_not_requested():
    driver = Driver([status("PROCESSING"), status("COMPLETED")], inline=True)
    assert driver.run()["kind"] == "fetch"
    assert driver.calls == ["get_status", "get_status"]


def test_failed():
    payload = Driver([status("FAILED", "out of memory")]).run()
    assert payload["kind"] == "failed"
    assert payload["error"]["detail"] == "out of memory"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SegmindUnknownStatusError("PAUSED"), "error"),
        (SegmindMissingOutputError("nothing"), "error"),
        (SegmindConfigError("not a response of Segmind"), "error"),
    ],
)
def test_an_error_that_is_not_transient_ends_the_wait_at_once(error, kind):
    driver = Driver([status("PROCESSING"), error], now=NOW + 100)
    payload = driver.run()
    assert payload["kind"] == kind
    assert not payload["error"]["retryable"]
    assert len(driver.calls) == 2


def test_a_request_older_than_its_record_is_expired_at_once():
    driver = Driver([SegmindRequestExpiredError("unknown request")], now=NOW + 3601, timeout=7200)
    payload = driver.run()
    assert payload["kind"] == "expired"
    assert driver.calls == ["get_status"]


# --- refused polls of a request that is billed -------------------------------------------------------------------

REFUSALS = {
    **{str(number): response(number, {"error": "no"}) for number in (400, 401, 403, 404, 405, 406, 410, 422)},
    "422 of a firewall": response(422, b"<html>Unprocessable</html>"),
    "422 with another status": response(422, {"status": "BLOCKED"}),
}


def refused(name, call):
    """Return the error that a client raises for this refusal."""
    with pytest.raises(SegmindError) as caught:
        call.parse(REFUSALS[name])
    assert not caught.value.retryable
    return caught.value


@pytest.mark.parametrize("name", REFUSALS)
def test_one_refusal_of_a_poll_is_tolerated(name):
    driver = Driver([refused(name, calls.get_status(ID)), status("COMPLETED"), result()], now=NOW + 100)
    assert driver.run()["kind"] == "completed"
    assert driver.calls == ["get_status", "get_status", "get_result"]


@pytest.mark.parametrize("name", REFUSALS)
def test_one_refusal_of_a_result_is_tolerated(name):
    driver = Driver([status("COMPLETED"), refused(name, calls.get_result(ID)), status("COMPLETED"), result()])
    assert driver.run()["kind"] == "completed"


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("timeout", [0.0, 20.0, 60.0])
def test_refusals_that_last_end_the_wait_with_a_retryable_error(name, timeout):
    error = refused(name, calls.get_status(ID))
    driver = Driver([status("PROCESSING"), *[error] * 99], now=NOW + 100, poll_error_timeout=timeout)
    payload = driver.run()
    assert payload["kind"] == ("expired" if name == "404" else "error")
    assert payload["error"]["retryable"], "the request is billed: another try may still fetch it"
    assert payload["error"]["type"] == type(error).__name__
    took = sum(driver.pauses[2:])  # from the first refusal
    assert timeout <= took <= timeout + 31
    assert len(driver.calls) <= 12
    if name != "404":
        assert "poll_error_timeout" in payload["error"]["next_step"]
        assert "not billed" not in payload["error"]["next_step"]


def test_refused_results_count_although_polls_succeed():
    error = refused("403", calls.get_result(ID))
    driver = Driver([step for _ in range(99) for step in (status("COMPLETED"), error)], poll_error_timeout=60.0)
    assert driver.run()["error"]["retryable"]
    assert 60 <= sum(driver.pauses[1:]) <= 91


def test_a_successful_poll_restarts_the_timeout_of_refusals():
    error = refused("401", calls.get_status(ID))
    script = [step for _ in range(10) for step in (error, status("PROCESSING"))]
    driver = Driver([*script, status("COMPLETED"), result()], poll_error_timeout=20.0, poll_interval=15.0)
    assert driver.run()["kind"] == "completed"


def test_the_deadline_ends_a_wait_with_refusals():
    driver = Driver([refused("401", calls.get_status(ID))] * 99, timeout=30)
    payload = driver.run()
    assert payload["kind"] == "timeout"
    assert payload["error"]["retryable"]
    assert "Segmind refused the API key" in payload["error"]["detail"]


@pytest.mark.parametrize("number", [400, 406, 422])
def test_failed_is_not_a_refusal(number):
    failed = response(number, {"status": "FAILED", "error": "out of memory"})
    driver = Driver([calls.get_status(ID).parse(failed)])
    assert driver.run()["kind"] == "failed"
    with pytest.raises(SegmindError) as caught:
        calls.get_result(ID).parse(failed)
    driver = Driver([status("COMPLETED"), caught.value])
    assert driver.run()["kind"] == "failed"


# --- durations and clocks ------------------------------------------------------------------------------------------


def test_metrics_in_milliseconds_do_not_move_the_next_wait():
    durations = Durations()
    found = result()
    wrong = found.model_copy(update={"metrics": Metrics(total_time=12_040.0)})
    assert Driver([status("COMPLETED"), wrong], durations=durations, now=NOW + 12).run()["kind"] == "completed"
    later = Driver([status("COMPLETED"), found], durations=durations, started=NOW + 9e4, now=NOW + 9e4)
    assert later.run()["kind"] == "completed"
    assert later.pauses[0] < 15


def test_a_first_poll_after_the_deadline_is_moved_to_the_deadline():
    driver = Driver([status("COMPLETED"), result()], expected_duration=12_040.0, timeout=60)
    assert driver.run()["kind"] == "completed"
    assert driver.now == NOW + 60


def test_transient_errors_are_tolerated():
    trouble = [SegmindGatewayError("502"), SegmindConnectionError("reset"), SegmindMalformedResponseError("garbage")]
    driver = Driver([*trouble, status("COMPLETED"), SegmindGatewayError("504"), status("COMPLETED"), result()])
    assert driver.run()["kind"] == "completed"
    assert driver.pauses[1:4] == sorted(driver.pauses[1:4])


def test_a_rate_limit_pauses_until_its_reset():
    driver = Driver([SegmindRateLimitedError("slow", retry_after=37.0), status("COMPLETED"), result()])
    assert driver.run()["kind"] == "completed"
    assert driver.pauses[1] == 37


def test_the_timeout_reports_the_last_status():
    driver = Driver([], timeout=60)
    payload = driver.run()
    assert payload["kind"] == "timeout"
    assert driver.now == NOW + 60
    assert "was still PROCESSING 60 s after the submit" in payload["error"]["detail"]
    assert payload["error"]["retryable"]


def test_a_rate_limit_does_not_move_the_deadline():
    driver = Driver([SegmindRateLimitedError("slow", retry_after=3600.0)] * 99, timeout=60)
    payload = driver.run()
    assert payload["kind"] == "timeout"
    assert driver.now == NOW + 60
    assert "slow" in payload["error"]["detail"]


def test_after_the_deadline_there_is_one_last_poll():
    late = {"timeout": 60, "now": NOW + 5000}
    driver = Driver([status("COMPLETED"), result()], **late)
    assert driver.run()["kind"] == "completed"
    assert driver.pauses == []
    driver = Driver([], **late)
    assert driver.run()["kind"] == "timeout"
    assert driver.calls == ["get_status"]


def test_a_restart_continues_the_schedule():
    """The schedule of a restarted triggerer counts from the submit, not from its own start."""
    assert Driver([status("FAILED")], model="bria-increase-resolution").run()
    first = Driver([status("FAILED")], model="bria-increase-resolution")
    first.run()
    late = Driver([status("FAILED")], model="bria-increase-resolution", now=NOW + 10)
    late.run()
    assert first.pauses[0] == pytest.approx(0.75 * 12.52, rel=0.1)  # moved by the phase of the request
    assert late.pauses[0] < 2


def test_a_fixed_interval():
    driver = Driver([], timeout=10, poll_interval=2.5)
    driver.run()
    first, *others, _ = driver.pauses
    assert first == pytest.approx(2.5, rel=0.08)  # moved by the phase of the request
    assert others == [2.5, 2.5, 2.5]
    assert sum(driver.pauses) == pytest.approx(10)
