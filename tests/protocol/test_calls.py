"""Each call: its address, its money rule, and how it reads each response."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_segmind.exceptions import (
    SegmindConfigError,
    SegmindConnectionError,
    SegmindContentBlockedError,
    SegmindError,
    SegmindInvalidRequestError,
    SegmindMalformedResponseError,
    SegmindMissingOutputError,
    SegmindRateLimitedError,
    SegmindRequestExpiredError,
    SegmindRequestFailedError,
    SegmindUnknownOutcomeError,
    SegmindUnknownStatusError,
)
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.calls import Service
from airflow_provider_segmind.protocol.events import ERRORS
from airflow_provider_segmind.protocol.wire import RequestState
from tests.wire_examples import response, wire_body, wire_response

ID = wire_body("submit_queued")["request_id"]


def test_paths():
    assert calls.submit("esrgan", {}).path == "/v2/esrgan"
    assert calls.submit("flow", {}, workflow=True).path == "/workflows/v2/flow"
    assert calls.get_status("r-1").path == "/v2/requests/r-1/status"
    assert calls.get_result("r-1").path == "/v2/requests/r-1"
    assert calls.run_sync("esrgan", {}).path == "/v1/esrgan"
    assert calls.upload(["data:,"]).service is Service.UPLOAD
    assert calls.get_history("r-1").path == "/inference-request/request-history/r-1"
    listing = calls.get_history(model="esrgan", from_date=datetime(2026, 8, 1, tzinfo=UTC).date(), per_page=100)
    assert listing.query == {
        "page": 1,
        "per_page": 100,
        "sort_by": "model_created",
        "sort_order": "desc",
        "model_name": "esrgan",
        "from_date": "2026-08-01",
    }


@pytest.mark.parametrize("bad", ["", "../x", "a/b", "a?b", "a b", "a#b", "..", ".", "-x", "é", None, 7, "x" * 129])
def test_an_id_that_could_change_the_address_is_refused(bad):
    for call in (calls.get_status, calls.get_result):
        with pytest.raises(SegmindConfigError):
            call(bad)


@pytest.mark.parametrize("bad", ["", "../x", "a/b", "a?b", "a b", "/esrgan", None, 7])
def test_a_slug_that_could_change_the_address_is_refused(bad):
    with pytest.raises(SegmindConfigError):
        calls.submit(bad, {})


def test_money_rule():
    """GETs are replayed freely; a submit only if it cannot have been accepted, which a 5xx does not show."""
    submit, poll = calls.submit("esrgan", {}), calls.get_status(ID)
    allowed = {SegmindConnectionError, SegmindRateLimitedError}
    for cls in ERRORS.values():
        assert submit.may_replay(cls("")) is (cls in allowed), cls
        assert poll.may_replay(cls("")) is cls.default_retryable, cls
    assert isinstance(submit.unresponded("read time-out", address="https://g", sent=True), SegmindUnknownOutcomeError)
    assert isinstance(submit.unresponded("refused", address="https://g", sent=False), SegmindConnectionError)
    assert isinstance(poll.unresponded("read time-out", address="https://g", sent=True), SegmindConnectionError)
    assert not submit.may_replay(submit.unresponded("", address="https://g", sent=True))


def test_submit():
    found = calls.submit("esrgan", {}).parse(wire_response("submit_queued"))
    assert (found.request_id, found.status) == (ID, RequestState.QUEUED)


@pytest.mark.parametrize("body", [{}, {"request_id": None}, {"request_id": "../../x"}, {"request_id": 5}, [], "x", 7])
def test_a_submit_without_a_request_id_reports_so_and_is_not_sent_again(body):
    call = calls.submit("esrgan", {})
    with pytest.raises(SegmindMalformedResponseError, match="no request_id") as caught:
        call.parse(response(200, body))
    assert not caught.value.retryable
    assert not call.may_replay(caught.value)
    assert "billed again" in str(caught.value)


def test_status():
    for name, state in [
        ("status_queued", RequestState.QUEUED),
        ("status_processing", RequestState.PROCESSING),
        ("status_completed", RequestState.COMPLETED),
        ("status_failed_422", RequestState.FAILED),
    ]:
        found = calls.get_status(ID).parse(wire_response(name))
        assert found.state is state
    assert found.error
    assert isinstance(found.failure(), SegmindRequestFailedError)
    assert found.failure().request_id == ID


def test_an_unknown_status_is_an_error_not_a_wait():
    with pytest.raises(SegmindUnknownStatusError) as caught:
        calls.get_status(ID).parse(wire_response("status_unknown"))
    assert not caught.value.retryable
    for odd in (None, 7, [], {}, True):
        with pytest.raises(SegmindMalformedResponseError, match="has no status") as malformed:
            calls.get_status(ID).parse(response(200, {"status": odd}))
        assert malformed.value.retryable, "the next response may be whole"


def test_an_unknown_request_is_expired():
    for call in (calls.get_status(ID), calls.get_result(ID)):
        with pytest.raises(SegmindRequestExpiredError) as caught:
            call.parse(wire_response("error_404_request"))
        assert caught.value.request_id == ID


@pytest.mark.parametrize(
    ("name", "fetchable"),
    [
        ("result_esrgan_completed", True),
        ("result_nomos_completed", True),
        ("result_bria_completed", True),
        ("result_minimal_completed", True),
        ("result_video_completed", True),
        ("result_nomos_base64", False),
        ("result_text_completed", False),
    ],
)
def test_results(name, fetchable):
    result = calls.get_result(ID, model="esrgan").parse(wire_response(name))
    assert result.status is RequestState.COMPLETED
    assert result.fetchable is fetchable
    shown = result.to_xcom()
    assert set(shown) == {"request_id", "model", "status", "output", "outputs", "metrics"}
    assert set(shown["metrics"]) == {"cost", "remaining_credits", "inference_time", "queue_time", "total_time"}
    assert all(set(file) == {"url", "content_type", "file_name", "file_size"} for file in shown["outputs"])
    assert (shown["output"] is None) is not fetchable
    for text in result.inline:
        assert text not in repr(result) + str(shown)


def test_a_base64_output_decodes():
    result = calls.get_result(ID).parse(wire_response("result_nomos_base64"))
    [content] = result.inline_contents()
    assert content[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0", b"RIFF")


def test_failed_is_read_out_of_a_422():
    with pytest.raises(SegmindRequestFailedError):
        calls.get_result(ID).parse(wire_response("result_failed_422"))
    with pytest.raises(SegmindContentBlockedError):
        calls.get_result(ID).parse(wire_response("result_moderated_422"))


@pytest.mark.parametrize("body", [b"<html>no json</html>", {}, [], {"status": "BLOCKED"}, {"error": "moderation"}])
def test_a_422_that_does_not_report_failed_is_a_refusal(body):
    """A firewall or a proxy may respond so; a request that FAILED is submitted, and may be billed, again."""
    for call in (calls.get_status(ID), calls.get_result(ID)):
        with pytest.raises(SegmindInvalidRequestError) as caught:
            call.parse(response(422, body))
        assert caught.value.request_id == ID


def test_a_422_on_a_submit_is_not_a_failed_request():
    with pytest.raises(Exception, match="refused the request"):
        calls.submit("esrgan", {}).parse(response(422, {"status": "FAILED", "error": "x"}))


@pytest.mark.parametrize("output", [None, "", " ", [], {}, 7, ["ftp://x/y"], {"url": "x"}])
def test_completed_without_output_is_not_a_success(output):
    with pytest.raises(SegmindMissingOutputError):
        calls.get_result(ID).parse(response(200, {"status": "COMPLETED", "output": output}))
    with pytest.raises(SegmindMissingOutputError):
        calls.get_result(ID).parse(wire_response("result_no_output"))


def test_a_result_that_is_not_ready_may_be_asked_for_again():
    with pytest.raises(SegmindMalformedResponseError) as caught:
        calls.get_result(ID).parse(wire_response("result_processing"))
    assert caught.value.retryable


def test_credits_upload_sync_history():
    balance = calls.get_credits().parse(wire_response("credits"))
    assert balance.total == balance.credits + balance.free_credits
    for name in ("upload_urls", "upload_file_urls"):
        urls = wire_body(name).get("urls") or wire_body(name).get("file_urls")
        assert calls.upload(["data:,"] * len(urls)).parse(wire_response(name)) == urls
        with pytest.raises(SegmindMalformedResponseError, match="as many URLs"):
            calls.upload(["data:,"] * (len(urls) + 1)).parse(wire_response(name))
    image = calls.run_sync("esrgan", {}).parse(
        response(200, b"\xff\xd8\xff", content_type="image/jpeg", x_cost="0.5", x_request_id="r", x_seed_value="7")
    )
    assert (image.content, image.cost, image.request_id, image.seed) == (b"\xff\xd8\xff", 0.5, "r", "7")
    with pytest.raises(SegmindMalformedResponseError):
        calls.run_sync("esrgan", {}).parse(response(200, b""))


def test_history_is_read_whatever_its_envelope():
    row = wire_body("history_row")
    for body in (row, [row], {"data": [row]}, {"data": {"rows": [row, row]}, "page": 1}, {"items": [7, None, row]}):
        page = calls.get_history().parse(response(200, body))
        [found] = page.rows
        assert found.request_id == row["request_id"]
        assert found.model == "esrgan"
        assert found.output == row["generation_url"]
        assert found.parameters == row["request_body"]
        assert found.created_at == "2026-08-01T10:00:00+00:00"
    page = calls.get_history().parse(wire_response("history_page"))
    assert len(page.rows) == page.raw == len(wire_body("history_page")["data"])


def test_a_page_of_the_history_counts_its_rows_before_duplicates_are_removed():
    """A request with several outputs has several rows: a page of them is full, though it names fewer requests."""
    row = wire_body("history_row")
    other = {**row, "request_id": "r-2"}
    for rows, raw, requests in (([], 0, 0), ([row, row, other], 3, 2), ([7, None, row], 3, 1), ([7, {}], 2, 0)):
        for body in (rows, {"data": rows, "page": 1}, {"data": {"rows": rows}}):
            page = calls.get_history().parse(response(200, body))
            assert (page.raw, len(page.rows)) == (raw, requests)


@pytest.mark.parametrize(
    "body", [{}, {"data": {}}, {"data": None}, {"message": "ok"}, "", 7, None, b"", b"<html></html>"]
)
def test_an_envelope_without_a_list_is_not_an_empty_history(body):
    """Nothing that was not listed was "not found": an unknown outcome stays unknown."""
    with pytest.raises(SegmindMalformedResponseError, match="the request history is not a list") as caught:
        calls.get_history().parse(response(200, body))
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/outputs/a.png?x=1", "https://images.example/outputs/a.png?x=1"),
        ("//cdn.example/a.png", "https://cdn.example/a.png"),
        ("https://images.segmind.com/a.png", "https://images.segmind.com/a.png"),
        ("//[", None),
        ("/a b", None),
        ("outputs/a.png", None),
        (None, None),
    ],
)
def test_a_relative_output_of_the_history_becomes_absolute(path, url):
    row = {**wire_body("history_row"), "generation_url": path}
    [found] = calls.get_history().parse(response(200, [row])).with_absolute("https://images.example").rows
    assert found.output == url


def test_the_reset_is_counted_on_the_servers_own_clock():
    call = calls.submit("esrgan", {})
    with pytest.raises(SegmindRateLimitedError) as caught:
        call.parse(wire_response("error_429", date="Sat, 01 Aug 2026 10:00:30 GMT"))
    assert caught.value.retry_after == 31
    assert caught.value.reset_at == datetime(2026, 8, 1, 10, 1, tzinfo=UTC)
    with pytest.raises(SegmindRateLimitedError) as caught:
        call.parse(response(429, {}, retry_after="7"))
    assert caught.value.retry_after == 7


@pytest.mark.parametrize(
    "stamp", ["2026-08-01T10:01:00Z", "2026-08-01 10:01:00", "1785578460", "1785578460000", "1785578460.0"]
)
def test_timestamps_as_vendors_write_them(stamp):
    with pytest.raises(SegmindRateLimitedError) as caught:
        calls.get_credits().parse(response(429, {}, x_rate_limit_reset_at_utc=stamp))
    assert caught.value.reset_at == datetime(2026, 8, 1, 10, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "headers", [{"retry_after": "999999999"}, {"x_rate_limit_reset_at_utc": "9999-01-01T00:00:00Z"}]
)
def test_an_absurd_reset_is_ignored(headers):
    for date in ({}, {"date": "Sat, 01 Aug 2026 10:00:30 GMT"}):
        with pytest.raises(SegmindRateLimitedError) as caught:
            calls.get_credits().parse(response(429, {}, **headers, **date))
        assert caught.value.wait_seconds(1785578460) is None


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520])
def test_a_submit_with_a_5xx_response_may_be_billed(status):
    with pytest.raises(SegmindError) as caught:
        calls.submit("esrgan", {}).parse(response(status, {}))
    assert "may have accepted and billed the request" in caught.value.next_step
    assert "othing is billed" not in str(caught.value)
    with pytest.raises(SegmindError) as caught:
        calls.get_credits().parse(response(status, {}))
    assert "billed" not in str(caught.value)


def test_a_very_deep_body_is_not_json():
    with pytest.raises(SegmindConfigError.__bases__[0]):
        calls.get_credits().parse(response(500, b"[" * 500 + b"]" * 500))


@pytest.mark.parametrize("stamp", ["", "soon", "NaN", "1e400", "99999999999999999999", "2026-13-45", "10:00", "P1D"])
def test_a_timestamp_that_cannot_be_read_is_not_a_reset(stamp):
    with pytest.raises(SegmindRateLimitedError) as caught:
        calls.get_credits().parse(response(429, {}, x_rate_limit_reset_at_utc=stamp, retry_after=stamp))
    assert caught.value.wait_seconds(0) is None or caught.value.wait_seconds(0) >= 0


def test_redirects_are_refused():
    with pytest.raises(SegmindMalformedResponseError, match="the API key is not sent there"):
        calls.get_credits().parse(response(302, b"", location="https://elsewhere.example/"))
