"""The rules of a wait, driven by hand: no network, no clock but the test's own."""

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
from airflow_provider_segmind.polling.loop import Pause, Watch
from airflow_provider_segmind.polling.schedule import Durations
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.wire import Metrics, RequestState, RequestStatus
from tests.wire_examples import response, wire_body, wire_response

ID = wire_body("submit_queued")["request_id"]
NOW = 1_800_000_000.0


class Drive:
    """Answer a wait's steps from a script; pauses move the clock."""

    def __init__(self, script, *, timeout=600.0, started=NOW, now=NOW, **watch):
        self.now, self.script, self.pauses, self.calls, self.states = now, list(script), [], [], []
        self.watch = Watch(
            ID, watch.pop("model", "esrgan"), started, started + timeout, on_state=self.states.append, **watch
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
                found = self.script.pop(0) if self.script else status("PROCESSING")
                step = steps.throw(found) if isinstance(found, Exception) else steps.send(found)
        except StopIteration as end:
            return end.value.payload()


def status(state, error=""):
    return RequestStatus(request_id=ID, state=RequestState(state), metrics=Metrics(), error=error)


def result(name="result_esrgan_completed"):
    return calls.get_result(ID, model="esrgan").parse(wire_response(name))


def test_queued_processing_completed():
    drive = Drive([status("QUEUED"), status("PROCESSING"), status("COMPLETED"), result()])
    payload = drive.run()
    assert payload["kind"] == "completed"
    assert payload["result"]["output"].startswith("https://")
    assert drive.calls == ["get_status", "get_status", "get_status", "get_result"]
    assert drive.states == ["QUEUED", "PROCESSING", "COMPLETED"]


def test_base64_is_left_to_the_task():
    payload = Drive([status("COMPLETED"), result("result_nomos_base64")]).run()
    assert payload["kind"] == "fetch"
    assert "result" not in payload


def test_inline_base64_is_not_even_asked_for():
    drive = Drive([status("PROCESSING"), status("COMPLETED")], inline=True)
    assert drive.run()["kind"] == "fetch"
    assert drive.calls == ["get_status", "get_status"]


def test_failed():
    payload = Drive([status("FAILED", "out of memory")]).run()
    assert payload["kind"] == "failed"
    assert payload["error"]["detail"] == "out of memory"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SegmindUnknownStatusError("PAUSED"), "error"),
        (SegmindMissingOutputError("nothing"), "error"),
        (SegmindConfigError("not a refusal of Segmind's"), "error"),
    ],
)
def test_what_will_not_pass_ends_the_wait_at_once(error, kind):
    drive = Drive([status("PROCESSING"), error], now=NOW + 100)
    payload = drive.run()
    assert payload["kind"] == kind
    assert not payload["error"]["retryable"]
    assert len(drive.calls) == 2


def test_a_request_that_is_older_than_its_record_is_expired_at_once():
    drive = Drive([SegmindRequestExpiredError("gone")], now=NOW + 3601, timeout=7200)
    payload = drive.run()
    assert payload["kind"] == "expired"
    assert drive.calls == ["get_status"]


# --- refusals of a request that is paid for (issue 13, row 20) -----------------------------------------------------

REFUSALS = {
    **{str(number): response(number, {"error": "no"}) for number in (400, 401, 403, 404, 405, 406, 410, 422)},
    "422 of a firewall": response(422, b"<html>Unprocessable</html>"),
    "422 with another status": response(422, {"status": "BLOCKED"}),
}


def refused(name, call):
    """The error that this refusal is to a client."""
    with pytest.raises(SegmindError) as caught:
        call.parse(REFUSALS[name])
    assert not caught.value.retryable
    return caught.value


@pytest.mark.parametrize("name", REFUSALS)
def test_one_refusal_of_a_poll_is_tolerated(name):
    drive = Drive([refused(name, calls.get_status(ID)), status("COMPLETED"), result()], now=NOW + 100)
    assert drive.run()["kind"] == "completed"
    assert drive.calls == ["get_status", "get_status", "get_result"]


@pytest.mark.parametrize("name", REFUSALS)
def test_one_refusal_of_a_result_is_tolerated(name):
    drive = Drive([status("COMPLETED"), refused(name, calls.get_result(ID)), status("COMPLETED"), result()])
    assert drive.run()["kind"] == "completed"


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("tolerance", [0.0, 20.0, 60.0])
def test_refusals_that_last_end_the_wait_with_a_retryable_error(name, tolerance):
    error = refused(name, calls.get_status(ID))
    drive = Drive([status("PROCESSING"), *[error] * 99], now=NOW + 100, tolerance=tolerance)
    payload = drive.run()
    assert payload["kind"] == ("expired" if name == "404" else "error")
    assert payload["error"]["retryable"], "the request is paid for: another try may still fetch it"
    assert payload["error"]["type"] == type(error).__name__
    took = sum(drive.pauses[2:])  # from the first refusal
    assert tolerance <= took <= tolerance + 31
    assert len(drive.calls) <= 12
    if name != "404":
        assert "poll_error_timeout" in payload["error"]["next_step"]
        assert "not billed" not in payload["error"]["next_step"]


def test_results_that_are_refused_count_though_polls_are_not():
    error = refused("403", calls.get_result(ID))
    drive = Drive([step for _ in range(99) for step in (status("COMPLETED"), error)], tolerance=60.0)
    assert drive.run()["error"]["retryable"]
    assert 60 <= sum(drive.pauses[1:]) <= 91


def test_a_poll_that_succeeds_starts_the_tolerance_again():
    error = refused("401", calls.get_status(ID))
    script = [step for _ in range(10) for step in (error, status("PROCESSING"))]
    drive = Drive([*script, status("COMPLETED"), result()], tolerance=20.0, poll_interval=15.0)
    assert drive.run()["kind"] == "completed"


def test_the_deadline_ends_refusals_too():
    drive = Drive([refused("401", calls.get_status(ID))] * 99, timeout=30)
    payload = drive.run()
    assert payload["kind"] == "timeout"
    assert payload["error"]["retryable"]
    assert "Segmind refused the API key" in payload["error"]["detail"]


@pytest.mark.parametrize("number", [400, 406, 422])
def test_failed_is_not_a_refusal(number):
    failed = response(number, {"status": "FAILED", "error": "out of memory"})
    drive = Drive([calls.get_status(ID).parse(failed)])
    assert drive.run()["kind"] == "failed"
    with pytest.raises(SegmindError) as caught:
        calls.get_result(ID).parse(failed)
    drive = Drive([status("COMPLETED"), caught.value])
    assert drive.run()["kind"] == "failed"


# --- durations and clocks ------------------------------------------------------------------------------------------


def test_metrics_in_milliseconds_do_not_move_the_next_wait():
    durations = Durations()
    found = result()
    wrong = found.model_copy(update={"metrics": Metrics(total_time=12_040.0)})
    assert Drive([status("COMPLETED"), wrong], durations=durations, now=NOW + 12).run()["kind"] == "completed"
    later = Drive([status("COMPLETED"), found], durations=durations, started=NOW + 9e4, now=NOW + 9e4)
    assert later.run()["kind"] == "completed"
    assert later.pauses[0] < 15


def test_even_a_first_poll_that_is_due_too_late_comes_at_the_deadline():
    drive = Drive([status("COMPLETED"), result()], expected_duration=12_040.0, timeout=60)
    assert drive.run()["kind"] == "completed"
    assert drive.now == NOW + 60


def test_trouble_is_borne_until_it_passes():
    trouble = [SegmindGatewayError("502"), SegmindConnectionError("reset"), SegmindMalformedResponseError("garbage")]
    drive = Drive([*trouble, status("COMPLETED"), SegmindGatewayError("504"), status("COMPLETED"), result()])
    assert drive.run()["kind"] == "completed"
    assert drive.pauses[1:4] == sorted(drive.pauses[1:4])


def test_a_rate_limit_is_waited_out():
    drive = Drive([SegmindRateLimitedError("slow", retry_after=37.0), status("COMPLETED"), result()])
    assert drive.run()["kind"] == "completed"
    assert drive.pauses[1] == 37


def test_the_deadline_ends_the_wait_with_what_was_seen():
    drive = Drive([], timeout=60)
    payload = drive.run()
    assert payload["kind"] == "timeout"
    assert drive.now == NOW + 60
    assert "was still PROCESSING 60 s after the submit" in payload["error"]["detail"]
    assert payload["error"]["retryable"]


def test_even_a_rate_limit_does_not_move_the_deadline():
    drive = Drive([SegmindRateLimitedError("slow", retry_after=3600.0)] * 99, timeout=60)
    payload = drive.run()
    assert payload["kind"] == "timeout"
    assert drive.now == NOW + 60
    assert "slow" in payload["error"]["detail"]


def test_a_deadline_that_passed_meanwhile_allows_one_last_poll():
    late = {"timeout": 60, "now": NOW + 5000}
    drive = Drive([status("COMPLETED"), result()], **late)
    assert drive.run()["kind"] == "completed"
    assert drive.pauses == []
    drive = Drive([], **late)
    assert drive.run()["kind"] == "timeout"
    assert drive.calls == ["get_status"]


def test_a_restart_goes_on_in_the_schedule():
    """A restarted triggerer counts from the submit, not from its own start."""
    assert Drive([status("FAILED")], model="bria-increase-resolution").run()
    fresh = Drive([status("FAILED")], model="bria-increase-resolution")
    fresh.run()
    late = Drive([status("FAILED")], model="bria-increase-resolution", now=NOW + 10)
    late.run()
    assert fresh.pauses[0] == pytest.approx(0.75 * 12.52, rel=0.1)  # spread by the request's own phase
    assert late.pauses[0] < 2


def test_a_fixed_interval():
    drive = Drive([], timeout=10, poll_interval=2.5)
    drive.run()
    first, *others, _ = drive.pauses
    assert first == pytest.approx(2.5, rel=0.08)  # spread by the request's own phase
    assert others == [2.5, 2.5, 2.5]
    assert sum(drive.pauses) == pytest.approx(10)
