"""
What a trigger tells the task that it resumes: typed, versioned, and closed to anything else.

An event crosses processes through the metadata database, and after an upgrade it may come from another
version: what cannot be read fails loudly, because an unknown outcome must never look like a success.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from airflow_provider_segmind.exceptions import (
    SegmindError,
    SegmindEventError,
    SegmindRateLimitedError,
    SegmindRequestExpiredError,
    SegmindRequestFailedError,
    SegmindTimeoutError,
)
from airflow_provider_segmind.protocol.wire import Result

T = TypeVar("T")

VERSION: Literal[1] = 1


def _all_classes(root: type[SegmindError]) -> dict[str, type[SegmindError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _all_classes(child)
    return found


#: Every error by its name.
ERRORS: dict[str, type[SegmindError]] = _all_classes(SegmindError)


def error_from_dict(data: dict[str, Any]) -> SegmindError:
    """Rebuild what :meth:`SegmindError.to_dict` wrote; an unknown type becomes a plain SegmindError."""
    cls = ERRORS.get(str(data.get("type")), SegmindError)
    fields = {key: data.get(key) for key in ("status", "request_id", "next_step", "retryable")}
    if issubclass(cls, SegmindRateLimitedError):
        reset_at = data.get("reset_at")
        fields["reset_at"] = datetime.fromisoformat(reset_at) if reset_at else None
        fields["retry_after"] = data.get("retry_after")
    return cls(str(data.get("detail") or ""), **fields)


class _Event(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)

    version: Literal[1] = VERSION
    request_id: str
    #: Width and height of the input in pixels, where known: the resumed task has no other memory of it.
    input_size: tuple[int, int] | None = None
    #: What else the resumed task needs to know of its request: its key, and what the sidecar states.
    request_info: dict[str, Any] | None = None

    def payload(self) -> dict[str, Any]:
        """Return the event as JSON."""
        return self.model_dump(mode="json")


class CompletedEvent(_Event):
    """COMPLETED, and here is the small result."""

    kind: Literal["completed"] = "completed"
    result: Result


class FetchEvent(_Event):
    """COMPLETED with an output inside the body (base64): fetch it yourself, it does not fit in an event."""

    kind: Literal["fetch"] = "fetch"


class FailedEvent(_Event):
    """The request ran and FAILED, or its content was blocked."""

    kind: Literal["failed"] = "failed"
    error: dict[str, Any]


class ExpiredEvent(_Event):
    """Segmind does not know the request (any more)."""

    kind: Literal["expired"] = "expired"
    error: dict[str, Any]


class TimeoutEvent(_Event):
    """Not finished at our own deadline."""

    kind: Literal["timeout"] = "timeout"
    error: dict[str, Any]


class ErrorEvent(_Event):
    """Something else that waiting will not mend: a refused key, a status that is not known, ..."""

    kind: Literal["error"] = "error"
    error: dict[str, Any]


class RateLimitEvent(BaseModel):
    """A rate limit is over, or the task's time is: it is this task's turn to submit."""

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)

    version: Literal[1] = VERSION
    kind: Literal["gate"] = "gate"
    started_at: float
    returns: int


Event = CompletedEvent | FetchEvent | FailedEvent | ExpiredEvent | TimeoutEvent | ErrorEvent
_RATE_LIMIT: TypeAdapter[RateLimitEvent] = TypeAdapter(RateLimitEvent)
_EVENTS: TypeAdapter[Event] = TypeAdapter(
    Annotated[Event, Field(discriminator="kind")], config=ConfigDict(defer_build=True)
)


def read_any_event(payload: Any, *, request_id: str | None = None) -> Event:
    """
    Read a trigger's event, whatever it reports.

    :param payload: what the trigger fired.
    :param request_id: the request that the task waits for, where it still knows: an event about another one is
        refused.
    :raises SegmindEventError: the event is missing, of an unknown kind or version, or about another request.
    """
    event = read(_EVENTS, payload, request_id)
    if request_id and event.request_id != request_id:
        raise SegmindEventError(f"it is about request {event.request_id:.60}", request_id=request_id)
    return event


def read_event(payload: Any, *, request_id: str | None = None) -> CompletedEvent | FetchEvent:
    """
    Read a trigger's event that must mean COMPLETED.

    :return: one of the two events that mean COMPLETED.
    :raises SegmindEventError: see :func:`read_any_event`.
    :raises SegmindError: what the event reports.
    """
    event = read_any_event(payload, request_id=request_id)
    if isinstance(event, CompletedEvent | FetchEvent):
        return event
    raise error_from_dict(event.error)


def read_rate_limit_event(payload: Any) -> RateLimitEvent:
    """Read the event of a gate; raises SegmindEventError for anything else."""
    return read(_RATE_LIMIT, payload, None)


def read(adapter: TypeAdapter[T], payload: Any, request_id: str | None) -> T:
    """Read a payload as one of our events; raise SegmindEventError for anything else."""
    try:
        return adapter.validate_python(payload)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, f['loc']))} {f['msg']}" for f in error.errors(include_url=False)[:3])
        raise SegmindEventError(f"{payload!r:.300} ({faults})", request_id=request_id) from None


#: What is reported as an event of its own; every other error is an ErrorEvent.
_KINDS: tuple[tuple[type[SegmindError], type[FailedEvent | ExpiredEvent | TimeoutEvent]], ...] = (
    (SegmindRequestFailedError, FailedEvent),
    (SegmindRequestExpiredError, ExpiredEvent),
    (SegmindTimeoutError, TimeoutEvent),
)


def event_for(error: SegmindError, *, request_id: str) -> Event:
    """Return the event that reports this error."""
    for cls, event in _KINDS:
        if isinstance(error, cls):
            return event(request_id=request_id, error=error.to_dict())
    return ErrorEvent(request_id=request_id, error=error.to_dict())
