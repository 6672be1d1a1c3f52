"""Any JSON, any bytes from the server end in a valid object or in one of our errors; nothing else."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.events import read_event
from airflow_provider_segmind.protocol.responses import Response, vendor_text
from airflow_provider_segmind.protocol.wire import RequestState

ID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
CALLS = [
    calls.submit("esrgan", {}),
    calls.get_status(ID),
    calls.get_result(ID, model="esrgan"),
    calls.run_sync("esrgan", {}),
    calls.get_credits(),
    calls.upload(["data:,"]),
    calls.get_history(),
    calls.get_history(ID),
]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
urls = st.sampled_from(["https://images.segmind.com/a.png", "javascript:x", "http://[", "//x", "https://", "x" * 9000])
state = st.sampled_from(["QUEUED", "PROCESSING", "COMPLETED", "FAILED", "completed", "PAUSED"]) | anything
#: What servers write into JSON although it does not belong there.
ODD = [b"\xe9", b"\xef\xbb\xbf", b"NaN", b"-Infinity", b"9" * 5000, b"1e999", b"\\ud83d", b"\n", b"\x00"]


def odd(body, what, where):
    text = json.dumps(body).encode()
    return text[:where] + what + text[where:]


#: Bodies with the keys that readers expect, and any values in them.
likely = st.fixed_dictionaries(
    {},
    optional={
        "request_id": st.just(ID) | anything,
        "status": state,
        "output": urls | anything,
        "images": st.lists(st.fixed_dictionaries({"url": urls | anything}, optional={"file_size": anything}))
        | anything,
        "video": anything,
        "metrics": st.dictionaries(st.sampled_from(["cost", "total_time"]), anything) | anything,
        "error": anything,
        "message": anything,
        "credits": anything,
        "free-credits": anything,
        "urls": anything,
        "file_urls": anything,
        "data": anything,
        "timestamps": anything,
        "request_body": anything,
        "generation_url": urls | anything,
    },
)
bodies = (
    (likely | st.lists(likely, max_size=3) | anything).map(lambda value: json.dumps(value).encode())
    | st.builds(odd, likely, st.sampled_from(ODD), st.integers(0, 200))
    | st.binary(max_size=200)
    | st.just(b"[" * 100_000)
)
header_values = st.text(max_size=30) | st.sampled_from(["Sat, 01 Aug 2026 10:00:30 GMT", "1785578460", "-1", "1e999"])
headers = st.dictionaries(
    st.sampled_from(["date", "retry-after", "x-rate-limit-reset-at-utc", "location", "content-type", "x-cost"]),
    header_values,
)
received = st.builds(Response, st.integers(100, 599), headers, bodies)


@given(received)
def test_every_response_to_every_call(response):
    for call in CALLS:
        try:
            found = call.parse(response)
        except SegmindError as error:
            assert str(error)
            assert isinstance(error.retryable, bool)
            json.dumps(error.to_dict(), allow_nan=False)
        else:
            assert found is not None


@given(received)
def test_completed_is_only_what_reports_so(response):
    with contextlib.suppress(SegmindError):
        result = calls.get_result(ID, model="m").parse(response)
        assert 200 <= response.status < 300
        assert str(response.json()["status"]).strip().upper() == RequestState.COMPLETED
        assert result.fetchable or result.inline
        json.dumps(result.to_xcom(), allow_nan=False)


@given(received)
def test_the_vendors_message_is_one_short_line(response):
    message = vendor_text(response)
    assert len(message) <= 2000 * 6
    assert "\n" not in message
    assert "\x00" not in message


@given(anything | likely.map(lambda body: {"version": 1, "kind": "completed", **body}))
def test_every_event_is_read_or_refused(payload):
    try:
        event = read_event(payload, request_id=ID)
    except SegmindError:
        return
    assert event.request_id == ID
