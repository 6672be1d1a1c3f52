"""The error tree: complete, readable, and unchanged after JSON or pickle."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime

import pytest

from airflow_provider_segmind import exceptions
from airflow_provider_segmind.exceptions import SegmindError, SegmindRateLimitedError
from airflow_provider_segmind.protocol.events import ERRORS, error_from_dict


@pytest.mark.parametrize("cls", ERRORS.values(), ids=ERRORS.keys())
def test_every_error_survives_json_and_pickle(cls):
    error = cls("the message", status=418, request_id="r-1", next_step="Do this.", retryable=True)
    for copy in (error_from_dict(json.loads(json.dumps(error.to_dict()))), pickle.loads(pickle.dumps(error))):
        assert type(copy) is cls
        assert (copy.detail, copy.status, copy.request_id) == ("the message", 418, "r-1")
        assert (copy.next_step, copy.retryable) == ("Do this.", True)
        assert str(copy) == str(error)


@pytest.mark.parametrize("cls", ERRORS.values(), ids=ERRORS.keys())
def test_every_message_has_the_vendors_message_the_request_and_the_next_step(cls):
    text = str(cls("vendor message", status=499, request_id="r-7"))
    assert "vendor message" in text
    assert "r-7" in text
    assert "HTTP 499" in text
    assert cls.advice in text


def test_every_error_is_drawn_in_the_tree():
    drawn = exceptions.__doc__ or ""
    assert [name for name in ERRORS if name not in drawn] == []


def test_an_error_of_a_newer_version_is_still_an_error():
    error = error_from_dict({"type": "SegmindFromTheFuture", "detail": "d", "next_step": "n", "retryable": True})
    assert type(error) is SegmindError
    assert error.retryable


def test_a_long_detail_is_cut_in_the_message_but_kept():
    error = SegmindError("x" * 5000)
    assert len(str(error)) < 700
    assert len(error.detail) == 5000


def test_a_rate_limit_has_the_seconds_to_wait():
    reset = datetime(2026, 8, 1, 10, 1, tzinfo=UTC)
    assert SegmindRateLimitedError(reset_at=reset).wait_seconds(reset.timestamp() - 20) == 20
    assert SegmindRateLimitedError(reset_at=reset).wait_seconds(reset.timestamp() + 20) == 0
    assert SegmindRateLimitedError(reset_at=reset, retry_after=3.0).wait_seconds(0) == 3
    assert SegmindRateLimitedError().wait_seconds(0) is None
    assert "2026-08-01 10:01:00 UTC" in str(SegmindRateLimitedError(reset_at=reset))
    copy = pickle.loads(pickle.dumps(SegmindRateLimitedError(reset_at=reset, retry_after=3.0)))
    assert (copy.reset_at, copy.retry_after) == (reset, 3.0)
