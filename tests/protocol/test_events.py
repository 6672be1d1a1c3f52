"""Events: what is written is read again; what is not understood is refused."""

from __future__ import annotations

import json

import pytest

from airflow_provider_segmind.exceptions import (
    SegmindContentBlockedError,
    SegmindEventError,
    SegmindRateLimitedError,
    SegmindRequestExpiredError,
    SegmindTimeoutError,
)
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.events import ERRORS, CompletedEvent, FetchEvent, event_for, read_event
from tests.wire_examples import wire_body, wire_response

ID = wire_body("submit_queued")["request_id"]


def test_completed_comes_back_whole():
    result = calls.get_result(ID, model="esrgan").parse(wire_response("result_esrgan_completed"))
    sent = json.loads(json.dumps(CompletedEvent(request_id=ID, result=result, input_size=(3, 2)).payload()))
    event = read_event(sent, request_id=ID)
    assert isinstance(event, CompletedEvent)
    assert event.result.to_xcom() == result.to_xcom()
    assert event.input_size == (3, 2)


def test_a_base64_output_never_enters_an_event():
    result = calls.get_result(ID, model="m").parse(wire_response("result_nomos_base64"))
    [text] = result.inline
    assert text not in json.dumps(CompletedEvent(request_id=ID, result=result).payload())
    assert isinstance(read_event(FetchEvent(request_id=ID).payload(), request_id=ID), FetchEvent)


@pytest.mark.parametrize("cls", ERRORS.values(), ids=ERRORS.keys())
def test_every_error_travels(cls):
    event = event_for(cls("words", request_id=ID, status=499), request_id=ID)
    with pytest.raises(cls, match="words") as caught:
        read_event(json.loads(json.dumps(event.payload())), request_id=ID)
    assert type(caught.value) is cls


def test_kinds_are_distinct():
    kinds = {
        SegmindContentBlockedError: "failed",
        SegmindRequestExpiredError: "expired",
        SegmindTimeoutError: "timeout",
        SegmindRateLimitedError: "error",
    }
    for cls, kind in kinds.items():
        assert event_for(cls(""), request_id=ID).payload()["kind"] == kind


@pytest.mark.parametrize(
    "payload",
    [
        None,
        "success",
        True,
        {},
        {"status": "success"},
        {"version": 1, "kind": "succeeded", "request_id": ID},
        {"version": 2, "kind": "fetch", "request_id": ID},
        {"version": 1, "kind": "fetch"},
        {"version": 1, "kind": "completed", "request_id": ID},
        {"version": 1, "kind": "completed", "request_id": ID, "result": {}},
        {"version": 1, "kind": "fetch", "request_id": "another"},
    ],
)
def test_anything_else_is_refused(payload):
    with pytest.raises(SegmindEventError) as caught:
        read_event(payload, request_id=ID)
    assert not caught.value.retryable


def test_keys_of_a_newer_version_are_ignored():
    payload = {"version": 1, "kind": "fetch", "request_id": ID, "from_the_future": 1}
    assert isinstance(read_event(payload, request_id=ID), FetchEvent)
