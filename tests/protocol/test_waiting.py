"""The rules of a wait, driven by hand: no network, no clock but the test's own."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.exceptions import (
    SegmindAuthError,
    SegmindConnectionError,
    SegmindGatewayError,
    SegmindMalformedAnswerError,
    SegmindMissingOutputError,
    SegmindRateLimitedError,
    SegmindRequestExpiredError,
    SegmindUnknownStatusError,
)
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.waiting import Pause, Watch
from airflow_provider_segmind.protocol.wire import Metrics, RequestState, RequestStatus
from tests.wire_examples import wire_answer, wire_body

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
    return calls.get_result(ID, model="esrgan").parse(wire_answer(name))


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
        (SegmindRequestExpiredError("gone"), "expired"),
        (SegmindAuthError("bad key"), "error"),
        (SegmindUnknownStatusError("PAUSED"), "error"),
        (SegmindMissingOutputError("nothing"), "error"),
    ],
)
def test_what_waiting_will_not_mend_ends_the_wait_at_once(error, kind):
    drive = Drive([status("PROCESSING"), error], now=NOW + 100)
    assert drive.run()["kind"] == kind
    assert len(drive.calls) == 2


def test_trouble_is_borne_until_it_passes():
    trouble = [SegmindGatewayError("502"), SegmindConnectionError("reset"), SegmindMalformedAnswerError("garbage")]
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


def test_a_deadline_that_passed_meanwhile_allows_one_last_look():
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
    assert fresh.pauses[0] == pytest.approx(0.75 * 12.04, rel=0.1)  # spread by the request's own phase
    assert late.pauses[0] < 2


def test_a_fixed_interval():
    drive = Drive([], timeout=10, poll_interval=2.5)
    drive.run()
    first, *others, _ = drive.pauses
    assert first == pytest.approx(2.5, rel=0.08)  # spread by the request's own phase
    assert others == [2.5, 2.5, 2.5]
    assert sum(drive.pauses) == pytest.approx(10)
