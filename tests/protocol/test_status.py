"""The table of statuses is total, and the vendor's words decide where one status has several meanings."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.exceptions import (
    SegmindAuthError,
    SegmindContentBlockedError,
    SegmindContentTypeError,
    SegmindError,
    SegmindGatewayError,
    SegmindInsufficientCreditsError,
    SegmindInvalidRequestError,
    SegmindNotFoundError,
    SegmindPermissionError,
    SegmindRateLimitedError,
    SegmindRequestExpiredError,
    SegmindRequestFailedError,
    SegmindResponseError,
    SegmindRetiredModelError,
    SegmindServerError,
    SegmindSpendLimitError,
    SegmindUnknownModelError,
)
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.status import error_class, failed_class
from tests.wire_examples import response, wire_response

ERROR_TABLE = {
    "error_400": (SegmindInvalidRequestError, False),
    "error_400_malformed": (SegmindInvalidRequestError, False),
    "error_401_invalid": (SegmindAuthError, False),
    "error_401_missing": (SegmindAuthError, False),
    "error_403": (SegmindPermissionError, False),
    "error_404_model": (SegmindUnknownModelError, False),
    "error_405": (SegmindInvalidRequestError, False),
    "error_406_content_type": (SegmindContentTypeError, False),
    "error_406_credits": (SegmindInsufficientCreditsError, False),
    "error_406_value": (SegmindInvalidRequestError, False),
    "error_410": (SegmindRetiredModelError, False),
    "error_429": (SegmindRateLimitedError, True),
    "error_429_retry_after": (SegmindRateLimitedError, True),
    "error_500": (SegmindServerError, True),
    "error_502": (SegmindGatewayError, True),
    "error_502_html": (SegmindGatewayError, True),
    "error_503": (SegmindGatewayError, True),
    "error_504": (SegmindGatewayError, True),
}


@pytest.mark.parametrize("name", ERROR_TABLE)
def test_each_row_of_the_error_table(name):
    expected, retryable = ERROR_TABLE[name]
    with pytest.raises(SegmindError) as caught:
        calls.submit("esrgan", {}).parse(wire_response(name))
    assert type(caught.value) is expected
    assert caught.value.retryable is retryable
    assert caught.value.status == wire_response(name).status
    assert caught.value.detail
    assert "<" not in caught.value.detail, "tags of an HTML page have no place in a message"


def test_the_table_is_total():
    for status in range(100, 600):
        for about in ("model", "request", "account"):
            assert issubclass(error_class(status, "", about=about), SegmindError)
            if not 200 <= status < 300:
                with pytest.raises(SegmindError):
                    call = {"model": calls.submit("m", {}), "request": calls.get_status("r"), "account": None}[about]
                    (call or calls.get_credits()).parse(response(status, b"\xff\x00"))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("", SegmindInsufficientCreditsError),
        ("Insufficient credits. Please top up", SegmindInsufficientCreditsError),
        ("Your team has reached its spend limit", SegmindSpendLimitError),
        ("Team monthly limit exceeded", SegmindSpendLimitError),
        ("Invalid content type", SegmindContentTypeError),
        ("scale must be one of 2, 4, 8", SegmindInvalidRequestError),
        ("quality: value above the limit of 100", SegmindInvalidRequestError),
    ],
)
def test_406_has_four_meanings(message, expected):
    assert error_class(406, message, about="model") is expected


def test_404_depends_on_what_was_asked():
    assert error_class(404, "", about="model") is SegmindUnknownModelError
    assert error_class(404, "", about="request") is SegmindRequestExpiredError
    assert error_class(404, "", about="account") is SegmindNotFoundError


@pytest.mark.parametrize(
    ("message", "blocked"),
    [
        ("Content moderation: the input image was flagged", True),
        ("Blocked by RAI filters", True),
        ("Output flagged as NSFW", True),
        ("The content was blocked", True),
        ("CUDA out of memory", False),
        ("could not fetch the image", False),
        ("trait mismatch in braid", False),
    ],
)
def test_content_blocks_are_recognized_by_their_message(message, blocked):
    assert failed_class(message) is (SegmindContentBlockedError if blocked else SegmindRequestFailedError)


def test_spend_limit_is_a_kind_of_missing_credits():
    assert issubclass(SegmindSpendLimitError, SegmindInsufficientCreditsError)
    assert issubclass(SegmindInsufficientCreditsError, SegmindResponseError)
