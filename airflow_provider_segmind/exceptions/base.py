"""The base of all errors, and the errors of a call that got no response."""

from __future__ import annotations

from typing import Any, ClassVar

_SHOWN_DETAIL = 500  # characters of the detail in a message


class SegmindError(Exception):
    """
    Base of all errors of this package.

    :param detail: the vendor's message, or ours if there is none.
    :param status: HTTP status of the response, if there was one.
    :param request_id: the Segmind request that the error is about, if known.
    :param next_step: what the user can do (default: the class's ``advice``).
    :param retryable: True if the same call may succeed later (default: the class's ``default_retryable``).
    """

    what: ClassVar[str] = "The call to Segmind failed"
    advice: ClassVar[str] = "Check the task's log for the cause."
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
        """Return the error as JSON, for a trigger's event."""
        return {
            "type": type(self).__name__,
            "detail": self.detail[:4000],
            "status": self.status,
            "request_id": self.request_id,
            "next_step": self.next_step,
            "retryable": self.retryable,
        }


class SegmindConfigError(SegmindError, ValueError):
    """The connection, an argument or an input image is wrong; nothing was sent."""

    what = "Invalid configuration"
    advice = "Nothing was sent and nothing was billed; correct it and run it again."


class SegmindConnectionError(SegmindError):
    """No response arrived. A submit that fails with this error was certainly not accepted."""

    what = "Segmind could not be reached"
    advice = "Check the connection's host and this machine's network and proxy; a retry is safe."
    default_retryable = True


class SegmindUnknownOutcomeError(SegmindError):
    """A submit was sent and no readable response arrived: the request may run and be billed."""

    what = "The response to a submit was lost"
    advice = (
        "Segmind may have accepted and billed the request, and has no idempotency key: search the request history "
        "before you clear the task, because a second submit is billed again."
    )
