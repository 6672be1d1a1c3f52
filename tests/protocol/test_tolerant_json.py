"""What is not needed never makes a response unreadable; what is not JSON is still malformed."""

from __future__ import annotations

import json
import math

import pytest

from airflow_provider_segmind.exceptions import SegmindMalformedResponseError, SegmindRequestFailedError
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.responses import parse_json
from airflow_provider_segmind.protocol.wire import RequestState
from tests.wire_examples import response, wire_body

ID = wire_body("submit_queued")["request_id"]
URL = "https://images.segmind.com/outputs/a.png"

#: Bytes of an odd value -> what it is read as.
ODD = {
    "NaN": (b"NaN", None),
    "Infinity": (b"-Infinity", None),
    "a float that overflows": (b"1e999", None),
    "a number of 5,000 digits": (b"9" * 5000, None),
    "a Latin-1 byte": (b'"caf\xe9"', "caf\u00e9"),
    "UTF-8 and a Latin-1 byte": (b'"\xc3\xa9\xe9"', "\u00e9\u00e9"),
    "a lone surrogate": (rb'"a\ud83d"', "a?"),
    "an encoded surrogate": (b'"a\xed\xa0\xbd"', "a\u00ed\u00a0\u00bd"),
    "control characters": (b'"a\nb\x00"', "a\nb\x00"),
    "deep": (b"[" * 500 + b"]" * 500, ...),
}
odd = pytest.mark.parametrize("name", ODD)


@odd
def test_an_odd_value_leaves_the_others(name):
    written, read = ODD[name]
    for mark in (b"", b"\xef\xbb\xbf"):
        found = parse_json(mark + b'{"odd": ' + written + b', "n": 1, "l": [2]}')
        assert (found["n"], found["l"]) == (1, [2])
        if read is not ...:
            assert found["odd"] == read
        json.dumps(found, allow_nan=False).encode()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
def test_encodings_of_json(encoding):
    assert parse_json('{"a": "\u00e9"}'.encode(encoding)) == {"a": "\u00e9"}
    assert parse_json('\ufeff{"a": 1}') == {"a": 1}


@pytest.mark.parametrize("text", [b"", b"<html>", b"{'a': 1}", b'{"a": 1', b"\xff\xfe\xfd", b"nope", b"[" * 200_000])
def test_what_is_not_json(text):
    assert parse_json(text) is None


@odd
@pytest.mark.parametrize("place", ["metrics.cost", "metrics.total_time", "prompt", "seed", "images.0.file_size",
                                   "images.0.content_type", "named"])  # fmt: skip
def test_a_paid_result_is_read_whatever_else_it_has(name, place):
    """The output and the id are all that is needed."""
    item = {"url": URL, "content_type": "image/png", "file_size": 5}
    body = {"status": "COMPLETED", "output": URL, "images": [item], "metrics": {"cost": 0.5, "total_time": 2}}
    if place == "named":
        body = {"status": "COMPLETED", "output": [{"keyname": "x", "value": URL}, {"keyname": "y", "value": "@"}]}
    else:
        *path, last = place.split(".")
        target = body
        for step in path:
            target = target[int(step) if step.isdigit() else step]
        target[last] = "@"
    content = json.dumps(body).encode().replace(b'"@"', ODD[name][0])
    result = calls.get_result(ID, model="m").parse(response(200, content))
    assert result.output == URL
    json.dumps(result.to_xcom(), allow_nan=False).encode()
    status = calls.get_status(ID).parse(response(200, content))
    assert status.state is RequestState.COMPLETED


@pytest.mark.parametrize("status", ["COMPLETED ", "completed\n", "\tCompleted"])
def test_a_status_with_white_space(status):
    body = {"status": status, "output": URL}
    assert calls.get_status(ID).parse(response(200, body)).state is RequestState.COMPLETED
    assert calls.get_result(ID).parse(response(200, body)).output == URL
    [row] = calls.get_history().parse(response(200, [{**wire_body("history_row"), "model_status": status}])).rows
    assert row.status == "COMPLETED"
    with pytest.raises(SegmindRequestFailedError):
        calls.get_result(ID).parse(response(422, {"status": " failed ", "error": "x"}))


@odd
def test_a_submit_is_read_by_its_id_alone(name):
    content = b'{"eta": ' + ODD[name][0] + b', "request_id": " ' + ID.encode() + b'\\n", "status": "processing "}'
    found = calls.submit("esrgan", {}).parse(response(200, content))
    assert (found.request_id, found.status) == (ID, RequestState.PROCESSING)


@pytest.mark.parametrize("content", [b"", b"\xff\x00\x9c", b"<html>", b"NaN", b'{"request_id": NaN}'])
def test_a_submit_that_is_not_readable_stays_an_unknown_outcome(content):
    with pytest.raises(SegmindMalformedResponseError, match="no request_id") as caught:
        calls.submit("esrgan", {}).parse(response(200, content))
    assert not caught.value.retryable


@odd
def test_the_balance_and_an_upload_are_read(name):
    written = ODD[name][0]
    found = calls.get_credits().parse(response(200, b'{"credits": 3, "free-credits": ' + written + b"}"))
    assert (found.credits, found.free_credits) == (3, 0)
    content = b'{"file_urls": [" ' + URL.encode() + b'\\n"], "message": ' + written + b"}"
    assert calls.upload(["data:,"]).parse(response(200, content)) == [URL]


@odd
def test_one_odd_row_leaves_the_history_readable(name):
    row = {**wire_body("history_row"), "latency_ms": "@"}
    content = json.dumps([row, {**row, "request_id": "r-2"}]).encode().replace(b'"@"', ODD[name][0])
    page = calls.get_history().parse(response(200, content))
    assert [found.request_id for found in page.rows] == [row["request_id"], "r-2"]
    assert page.rows[0].parameters == row["request_body"]


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("written", [b"NaN", b"Infinity", b"9" * 5000, b"1e999"])
def test_a_row_with_an_unusable_parameter_may_be_any_submit(written, as_text):
    """Without its true value nothing rules the row out, so it must not count as another request."""
    row = {**wire_body("history_row"), "request_body": "@"}
    inputs = b'{"image": "https://x/a.png", "scale": ' + written + b"}"
    content = json.dumps(row).encode().replace(b'"@"', json.dumps(inputs.decode()).encode() if as_text else inputs)
    [found] = calls.get_history().parse(response(200, content)).rows
    assert found.request_id == row["request_id"]
    assert found.parameters is None


def test_a_row_in_latin_1_has_the_parameters_that_were_sent():
    row = {**wire_body("history_row"), "request_body": {"prompt": "caf\u00e9"}}
    content = json.dumps(row, ensure_ascii=False).encode("latin-1")
    [found] = calls.get_history().parse(response(200, content)).rows
    assert found.parameters == {"prompt": "caf\u00e9"}


def test_the_unusable_value_can_be_chosen():
    found = parse_json(b"[NaN, 1]", unusable=math.nan)
    assert math.isnan(found[0])
    assert found[1] == 1
