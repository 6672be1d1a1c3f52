"""What all errors have in common, and those of a call that got no answer."""

from __future__ import annotations

from typing import Any, ClassVar

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


class SegmindUnknownOutcomeError(SegmindError):
    """A submit left this machine and no readable answer came back: it may run and be billed."""

    what = "The answer to a submit was lost"
    advice = (
        "Segmind may have accepted it, and has no idempotency key: look for it in the request history "
        "before clearing the task, because a second submit is a second bill."
    )
