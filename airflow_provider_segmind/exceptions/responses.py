"""The gateway answered, and the answer is an error. Which status is which: ``protocol/status.py``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow_provider_segmind.exceptions.base import SegmindError

#: Seconds; limits are per minute, so one that claims to reset later is a mistake, and nobody should sleep on it.
_LONGEST_RESET = 3600.0


class SegmindResponseError(SegmindError):
    """The gateway answered, and the answer is an error."""


class SegmindInvalidRequestError(SegmindResponseError):
    """The request is malformed, or a parameter's value is refused (400, 405, 406, 422)."""

    what = "Segmind refused the request"
    advice = "Correct the parameter that it names; the same call will be refused again. Nothing is billed."


class SegmindContentTypeError(SegmindResponseError):
    """The content type is refused (406, 415)."""

    what = "Segmind refused the content type"
    advice = "Something between here and Segmind changes headers: look at the proxy. Nothing is billed."


class SegmindAuthError(SegmindResponseError):
    """The API key is missing or bad (401)."""

    what = "Segmind refused the API key"
    advice = "Put a valid key into the password of the connection; trying again with this one will not help."


class SegmindPermissionError(SegmindResponseError):
    """The account or team may not call this model (403)."""

    what = "This account may not do that"
    advice = "Ask the owner of the Segmind team for access to the model, or use another key."


class SegmindUnknownModelError(SegmindResponseError):
    """No model of this slug (404 on a submit)."""

    what = "Segmind knows no such model"
    advice = "Check the slug: it is the last part of the model page's address."


class SegmindNotFoundError(SegmindResponseError):
    """Nothing at this address (404 on a call that names neither a model nor a request)."""

    what = "Segmind found nothing there"
    advice = "Check the host of the connection and its extras upload_url and history_url."


class SegmindRetiredModelError(SegmindResponseError):
    """The model is retired (410)."""

    what = "Segmind has retired this model"
    advice = "Choose its successor; trying again will not help."


class SegmindInsufficientCreditsError(SegmindResponseError):
    """Not enough credits (406)."""

    what = "Not enough Segmind credits"
    advice = "Top up the account, then clear the task. Nothing was billed."


class SegmindSpendLimitError(SegmindInsufficientCreditsError):
    """A team's spend limit is reached (406)."""

    what = "A Segmind spend limit is reached"
    advice = "Raise the team's limit or wait for its next period, then clear the task. Nothing was billed."


class SegmindRateLimitedError(SegmindResponseError):
    """
    Too many requests (429).

    :param reset_at: when the window opens again (UTC), if the answer said so.
    :param retry_after: seconds from the answer until then, if the answer said so.
    """

    what = "Segmind's rate limit is reached"
    advice = "The same call works after the reset. Nothing was billed."
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
        """Return the seconds from ``now`` (epoch seconds) until the reset, or None where it is not known."""
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
    """Segmind failed inside (500)."""

    what = "Segmind had an internal error"
    advice = "Try again; if a parameter was just changed and it stays, suspect that parameter."
    default_retryable = True


class SegmindGatewayError(SegmindResponseError):
    """The gateway is in trouble or timed out (502, 503, 504)."""

    what = "Segmind's gateway is in trouble"
    advice = "It passes: trying again later works."
    default_retryable = True


class SegmindMalformedResponseError(SegmindResponseError):
    """An answer that cannot be read as what was asked for."""

    what = "Segmind's answer cannot be read"
    advice = "If it stays, check that the host of the connection is Segmind's gateway."
    default_retryable = True


class SegmindUnknownStatusError(SegmindMalformedResponseError):
    """A request's status that this version does not know: never taken for success, never polled for ever."""

    what = "Segmind reports a status that this version of the provider does not know"
    advice = "Look for a newer airflow-provider-segmind; the request itself may still run and be billed."
    default_retryable = False


class SegmindMissingOutputError(SegmindMalformedResponseError):
    """COMPLETED, but without an output that can be used."""

    what = "Segmind reports COMPLETED without a usable output"
    advice = "Report the request id to Segmind's support; the request may have been billed."
    default_retryable = False
