"""Errors that the gateway responds with. ``protocol/status.py`` maps each HTTP status to its class."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow_provider_segmind.exceptions.base import SegmindError

#: Seconds; limits are per minute, so a later reset is a mistake of the gateway and is ignored.
_LONGEST_RESET = 3600.0


class SegmindResponseError(SegmindError):
    """Base of the errors that the gateway responds with."""


class SegmindInvalidRequestError(SegmindResponseError):
    """The request is malformed, or a parameter's value is not allowed (400, 405, 406, 422)."""

    what = "Segmind refused the request"
    advice = "Correct the parameter that the message names; a retry is refused again. Nothing was billed."


class SegmindContentTypeError(SegmindResponseError):
    """The content type is refused (406, 415)."""

    what = "Segmind refused the content type"
    advice = "Check whether a proxy between this machine and Segmind changes headers. Nothing was billed."


class SegmindAuthError(SegmindResponseError):
    """The API key is missing or invalid (401)."""

    what = "Segmind refused the API key"
    advice = "Set a valid API key: the connection's password, or SEGMIND_API_KEY if no connection is used."


class SegmindPermissionError(SegmindResponseError):
    """The account or team may not call this model (403)."""

    what = "The API key has no permission for this call"
    advice = "Ask the owner of the Segmind team for access to the model, or use another key."


class SegmindUnknownModelError(SegmindResponseError):
    """Segmind has no model with this slug (404 on a submit)."""

    what = "Segmind does not know this model"
    advice = "Check the slug: it is the last part of the model page's address."


class SegmindNotFoundError(SegmindResponseError):
    """Segmind has nothing at this address (404 on a call that names neither a model nor a request)."""

    what = "Segmind does not know this address"
    advice = "Check the connection's host and its extras upload_url and history_url."


class SegmindRetiredModelError(SegmindResponseError):
    """The model is retired (410)."""

    what = "Segmind has retired this model"
    advice = "Choose its successor; a retry fails again."


class SegmindInsufficientCreditsError(SegmindResponseError):
    """The account has not enough credits (402, 406)."""

    what = "Not enough Segmind credits"
    advice = "Top up the account, then clear the task. Nothing was billed."


class SegmindSpendLimitError(SegmindInsufficientCreditsError):
    """A team's spend limit is reached (406)."""

    what = "A Segmind spend limit is reached"
    advice = "Raise the team's limit or wait for its next period, then clear the task. Nothing was billed."


class SegmindRateLimitedError(SegmindResponseError):
    """
    Too many requests (429).

    :param reset_at: when the limit is reset (UTC), if the response states it.
    :param retry_after: seconds from the response until the reset, if the response states it.
    """

    what = "Segmind's rate limit is reached"
    advice = "Retry after the reset. Nothing was billed."
    default_retryable = True

    def __init__(
        self,
        detail: str = "",
        *,
        reset_at: datetime | None = None,
        retry_after: float | None = None,
        **kw: Any,
    ) -> None:
        super().__init__(detail, **kw)
        self.reset_at = reset_at
        self.retry_after = retry_after

    def wait_seconds(self, now: float) -> float | None:
        """Return the seconds from ``now`` (epoch seconds) until the reset, or None if it is unknown."""
        wait = self.retry_after
        if wait is None and self.reset_at is not None:
            wait = self.reset_at.timestamp() - now
        return None if wait is None or wait > _LONGEST_RESET else max(0.0, wait)

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON, with the reset as an ISO timestamp."""
        reset_at = self.reset_at.isoformat() if self.reset_at else None
        return super().to_dict() | {"reset_at": reset_at, "retry_after": self.retry_after}

    def __str__(self) -> str:
        until = f" It resets at {self.reset_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC." if self.reset_at else ""
        return super().__str__() + until


class SegmindServerError(SegmindResponseError):
    """Segmind failed internally (500)."""

    what = "Segmind had an internal error"
    advice = "Retry. If it fails again, check the parameters that were changed last."
    default_retryable = True


class SegmindGatewayError(SegmindResponseError):
    """The gateway is unavailable or timed out (502, 503, 504)."""

    what = "Segmind's gateway is unavailable"
    advice = "This is usually temporary: retry later."
    default_retryable = True


class SegmindMalformedResponseError(SegmindResponseError):
    """The response cannot be read as a response to this call."""

    what = "Segmind's response cannot be read"
    advice = "If it happens again, check that the connection's host is Segmind's gateway."
    default_retryable = True


class SegmindUnknownStatusError(SegmindMalformedResponseError):
    """This version does not know the request's status; it is neither taken for success nor polled for ever."""

    what = "Segmind reports a status that this version of the provider does not know"
    advice = "Install a newer airflow-provider-segmind. The request may still run and be billed."
    default_retryable = False


class SegmindMissingOutputError(SegmindMalformedResponseError):
    """The request is COMPLETED, but has no usable output."""

    what = "Segmind reports COMPLETED without a usable output"
    advice = "Report the request id to Segmind's support: the request may have been billed."
    default_retryable = False
