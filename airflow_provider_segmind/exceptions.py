"""
Every error of this package. Which HTTP status becomes which class: ``protocol/status.py``.

::

    SegmindError
    ├── SegmindConfigError            connection or argument is wrong; nothing was sent
    ├── SegmindConnectionError        no answer, and for a submit: certainly not accepted
    ├── SegmindAnswerLostError        a submit left, its answer did not arrive: it may be billed
    ├── SegmindAnswerError            the gateway answered, and the answer is an error
    │   ├── SegmindInvalidRequestError        400, 405, 406 on a parameter, 422 on a submit
    │   ├── SegmindContentTypeError           406 / 415 "Invalid content type"
    │   ├── SegmindAuthError                  401
    │   ├── SegmindPermissionError            403
    │   ├── SegmindUnknownModelError          404 on a submit
    │   ├── SegmindNotFoundError              404 on anything else
    │   ├── SegmindRetiredModelError          410
    │   ├── SegmindInsufficientCreditsError   402, 406
    │   │   └── SegmindSpendLimitError        406 that names a spend limit
    │   ├── SegmindRateLimitedError           429, knows when to come back
    │   ├── SegmindServerError                500
    │   ├── SegmindGatewayError               502, 503, 504 and any other 5xx
    │   └── SegmindMalformedAnswerError       an answer that cannot be read as what was asked for
    │       ├── SegmindUnknownStatusError     a status this version does not know
    │       └── SegmindMissingOutputError     COMPLETED without a usable output
    ├── SegmindRequestError           about one request that was accepted
    │   ├── SegmindRequestExpiredError        unknown, or past the hour that Segmind keeps it
    │   ├── SegmindRequestFailedError         FAILED; not charged
    │   │   └── SegmindContentBlockedError    FAILED because of its content
    │   └── SegmindTimeoutError               not finished within our own deadline
    ├── SegmindOutputError            the output is not what it should be (no picture, too small, too large)
    │   ├── SegmindForbiddenHostError         an output's address that a worker must not read
    │   └── SegmindDownloadError              the download broke, however often it was tried
    ├── SegmindStorageError           the output could not be written to its destination
    └── SegmindEventError             a trigger's event that this version cannot read

``retryable`` answers one question: would the same call, made again later, have a chance?
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

#: Seconds; limits are per minute, so one that claims to reset later is a mistake, and nobody should sleep on it.
_LONGEST_RESET = 3600.0
_SHOWN_DETAIL = 500  # characters of the vendor's words that fit in a message


class SegmindError(Exception):
    """
    Base of all errors of this package.

    :param detail: the vendor's own words, or ours where Segmind said nothing.
    :param status: HTTP status of the answer, if there was one.
    :param request_id: the Segmind request it is about, if one is known.
    :param next_step: what to do about it; each class has a default.
    :param retryable: overrides the class's answer to "has the same call a chance later?".
    """

    what: ClassVar[str] = "Segmind call failed"
    advice: ClassVar[str] = "See the detail above."
    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str = "",
        *,
        status: int | None = None,
        request_id: str | None = None,
        next_step: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        self.detail = detail
        self.status = status
        self.request_id = request_id
        self.next_step = self.advice if next_step is None else next_step
        self.retryable = self.default_retryable if retryable is None else retryable
        super().__init__(detail)

    def __str__(self) -> str:
        text = self.what
        if self.status is not None:
            text += f" (HTTP {self.status})"
        if self.detail:
            shown = self.detail if len(self.detail) <= _SHOWN_DETAIL else self.detail[:_SHOWN_DETAIL] + "…"
            text += f": {shown}"
        if text[-1] not in ".!?…":
            text += "."
        if self.request_id:
            text += f" Request {self.request_id}."
        return f"{text} {self.next_step}"

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON, to travel in a trigger's event."""
        return {
            "type": type(self).__name__,
            "detail": self.detail[:4000],
            "status": self.status,
            "request_id": self.request_id,
            "next_step": self.next_step,
            "retryable": self.retryable,
        }


class SegmindConfigError(SegmindError, ValueError):
    """The connection, an argument or an input picture is wrong; nothing was sent."""

    what = "Segmind is not set up right"
    advice = "Nothing was sent and nothing is billed; correct it and clear the task."


class SegmindConnectionError(SegmindError):
    """No answer came. A submit that ends so was certainly not accepted."""

    what = "Segmind could not be reached"
    advice = "Check the host of the connection and the way out of this machine; trying again is safe."
    default_retryable = True


class SegmindAnswerLostError(SegmindError):
    """A submit left this machine and no readable answer came back: it may run and be billed."""

    what = "The answer to a submit was lost"
    advice = (
        "Segmind may have accepted it, and has no idempotency key: look for it in the request history "
        "before clearing the task, because a second submit is a second bill."
    )


class SegmindAnswerError(SegmindError):
    """The gateway answered, and the answer is an error."""


class SegmindInvalidRequestError(SegmindAnswerError):
    """The request is malformed, or a parameter's value is refused (400, 405, 406, 422)."""

    what = "Segmind refused the request"
    advice = "Correct the parameter that it names; the same call will be refused again. Nothing is billed."


class SegmindContentTypeError(SegmindAnswerError):
    """The content type is refused (406, 415)."""

    what = "Segmind refused the content type"
    advice = "Something between here and Segmind changes headers: look at the proxy. Nothing is billed."


class SegmindAuthError(SegmindAnswerError):
    """The API key is missing or bad (401)."""

    what = "Segmind refused the API key"
    advice = "Put a valid key into the password of the connection; trying again with this one will not help."


class SegmindPermissionError(SegmindAnswerError):
    """The account or team may not call this model (403)."""

    what = "This account may not do that"
    advice = "Ask the owner of the Segmind team for access to the model, or use another key."


class SegmindUnknownModelError(SegmindAnswerError):
    """No model of this slug (404 on a submit)."""

    what = "Segmind knows no such model"
    advice = "Check the slug: it is the last part of the model page's address."


class SegmindNotFoundError(SegmindAnswerError):
    """Nothing at this address (404 on a call that names neither a model nor a request)."""

    what = "Segmind found nothing there"
    advice = "Check the host of the connection and its extras upload_url and history_url."


class SegmindRetiredModelError(SegmindAnswerError):
    """The model is retired (410)."""

    what = "Segmind has retired this model"
    advice = "Choose its successor; trying again will not help."


class SegmindInsufficientCreditsError(SegmindAnswerError):
    """Not enough credits (406)."""

    what = "Not enough Segmind credits"
    advice = "Top up the account, then clear the task. Nothing was billed."


class SegmindSpendLimitError(SegmindInsufficientCreditsError):
    """A team's spend limit is reached (406)."""

    what = "A Segmind spend limit is reached"
    advice = "Raise the team's limit or wait for its next period, then clear the task. Nothing was billed."


class SegmindRateLimitedError(SegmindAnswerError):
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


class SegmindServerError(SegmindAnswerError):
    """Segmind failed inside (500)."""

    what = "Segmind had an internal error"
    advice = "Try again; if a parameter was just changed and it stays, suspect that parameter. Nothing is billed."
    default_retryable = True


class SegmindGatewayError(SegmindAnswerError):
    """The gateway is in trouble or timed out (502, 503, 504)."""

    what = "Segmind's gateway is in trouble"
    advice = "It passes: trying again later works."
    default_retryable = True


class SegmindMalformedAnswerError(SegmindAnswerError):
    """An answer that cannot be read as what was asked for."""

    what = "Segmind's answer cannot be read"
    advice = "If it stays, check that the host of the connection is Segmind's gateway."
    default_retryable = True


class SegmindUnknownStatusError(SegmindMalformedAnswerError):
    """A request's status that this version does not know: never taken for success, never polled for ever."""

    what = "Segmind reports a status that this version of the provider does not know"
    advice = "Look for a newer airflow-provider-segmind; the request itself may still run and be billed."
    default_retryable = False


class SegmindMissingOutputError(SegmindMalformedAnswerError):
    """COMPLETED, but without an output that can be used."""

    what = "Segmind reports COMPLETED without a usable output"
    advice = "Report the request id to Segmind's support; the request may have been billed."
    default_retryable = False


class SegmindRequestError(SegmindError):
    """About one request that Segmind accepted."""


class SegmindRequestExpiredError(SegmindRequestError):
    """The request id is unknown, or older than the hour for which Segmind keeps records (404)."""

    what = "Segmind does not know this request (any more)"
    advice = (
        "Records live for one hour: take the output from the request history or from storage; "
        "clearing the task submits, and pays, anew."
    )


class SegmindRequestFailedError(SegmindRequestError):
    """The request ran and FAILED (HTTP 422). Failed work is not charged."""

    what = "The request ran and failed"
    advice = "Failed work is not charged. Change the input or the parameters before trying again."


class SegmindContentBlockedError(SegmindRequestFailedError):
    """FAILED because the content is not allowed; the same picture will be blocked again."""

    what = "Segmind blocked the content"
    advice = "The same picture will be blocked again; it was not charged."


class SegmindTimeoutError(SegmindRequestError):
    """Not finished within our own deadline. The request goes on: Segmind has no cancel call."""

    what = "The request did not finish in time"
    advice = "It still runs and will be billed if it completes (there is no cancel call); consider a longer timeout."
    default_retryable = True


class SegmindOutputError(SegmindError):
    """The output is not what it should be: no picture, truncated, too small or too large."""

    what = "The output cannot be stored"
    advice = "The request was billed and its output is kept for a while: look at it by its request id."


class SegmindForbiddenHostError(SegmindOutputError):
    """An output's address leads where a worker must not read."""

    what = "The output's address is not allowed"
    advice = "If the host is yours, name it in the extra output_hosts of the connection."


class SegmindDownloadError(SegmindOutputError):
    """The download broke, however often it was tried."""

    what = "The output could not be downloaded"
    advice = "The output outlives the request's record: trying again soon may work."
    default_retryable = True


class SegmindStorageError(SegmindError):
    """The output is whole, but it could not be written where it should lie."""

    what = "The output could not be written to its destination"
    advice = "Check the destination and its connection; the output is kept by Segmind for a while."
    default_retryable = True


class SegmindEventError(SegmindError):
    """A trigger's event that this version cannot read (fail closed)."""

    what = "The trigger's event cannot be read"
    advice = "Triggerer and workers may run different versions of the provider; clear the task once they agree."
