"""
A trigger's events: what it reports to the task that it resumes. Typed and versioned; anything else is an error.

An event crosses processes through the metadata database, and after an upgrade another version may have written it. An
event that cannot be read fails the task, because an unknown outcome must never be taken for a success.
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


#: Every error class by its name.
ERRORS: dict[str, type[SegmindError]] = _all_classes(SegmindError)


def error_from_dict(data: dict[str, Any]) -> SegmindError:
    """Return the error that :meth:`SegmindError.to_dict` wrote; an unknown type becomes a plain SegmindError."""
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
    #: Width and height of the input in pixels, if known: the resumed task has no other source for it.
    input_size: tuple[int, int] | None = None
    #: What else the resumed task needs to know of its request: its key, and what the sidecar states.
    request_info: dict[str, Any] | None = None

    def payload(self) -> dict[str, Any]:
        """Return the event as JSON."""
        return self.model_dump(mode="json")


class CompletedEvent(_Event):
    """The request is COMPLETED; the event has its result."""

    kind: Literal["completed"] = "completed"
    result: Result


class FetchEvent(_Event):
    """The request is COMPLETED with a base64 output, which does not fit into an event: the task fetches the result."""

    kind: Literal["fetch"] = "fetch"


class FailedEvent(_Event):
    """The request ran and FAILED, or its content was blocked."""

    kind: Literal["failed"] = "failed"
    error: dict[str, Any]


class ExpiredEvent(_Event):
    """Segmind has no record of the request."""

    kind: Literal["expired"] = "expired"
    error: dict[str, Any]


class TimeoutEvent(_Event):
    """The request did not finish before our deadline."""

    kind: Literal["timeout"] = "timeout"
    error: dict[str, Any]


class ErrorEvent(_Event):
    """Another error that ends the wait: a refused key, an unknown status, ..."""

    kind: Literal["error"] = "error"
    error: dict[str, Any]


class RateLimitEvent(BaseModel):
    """A rate limit or the task's own timeout has ended: the task submits now."""

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)

    version: Literal[1] = VERSION
    kind: Literal["rate_limit"] = "rate_limit"
    started_at: float
    returns: int


Event = CompletedEvent | FetchEvent | FailedEvent | ExpiredEvent | TimeoutEvent | ErrorEvent
_RATE_LIMIT: TypeAdapter[RateLimitEvent] = TypeAdapter(RateLimitEvent)
_EVENTS: TypeAdapter[Event] = TypeAdapter(
    Annotated[Event, Field(discriminator="kind")], config=ConfigDict(defer_build=True)
)


def read_any_event(payload: Any, *, request_id: str | None = None) -> Event:
    """
    Return a trigger's event, whatever it reports.

    :param payload: what the trigger fired.
    :param request_id: the request that the task waits for, if known: an event about another request is refused.
    :raises SegmindEventError: the event is missing, of an unknown kind or version, or about another request.
    """
    event = read(_EVENTS, payload, request_id)
    if request_id and event.request_id != request_id:
        raise SegmindEventError(f"it is about another request, {event.request_id:.60}", request_id=request_id)
    return event


def read_event(payload: Any, *, request_id: str | None = None) -> CompletedEvent | FetchEvent:
    """
    Return a trigger's event that must mean COMPLETED.

    :return: one of the two events that mean COMPLETED.
    :raises SegmindEventError: see :func:`read_any_event`.
    :raises SegmindError: the error that the event reports.
    """
    event = read_any_event(payload, request_id=request_id)
    if isinstance(event, CompletedEvent | FetchEvent):
        return event
    raise error_from_dict(event.error)


def read_rate_limit_event(payload: Any) -> RateLimitEvent:
    """Return the event of a rate limit's end; raise SegmindEventError for anything else."""
    return read(_RATE_LIMIT, payload, None)


def read(adapter: TypeAdapter[T], payload: Any, request_id: str | None) -> T:
    """Return a payload as one of our events; raise SegmindEventError for anything else."""
    try:
        return adapter.validate_python(payload)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, f['loc']))} {f['msg']}" for f in error.errors(include_url=False)[:3])
        raise SegmindEventError(f"{payload!r:.300} ({faults})", request_id=request_id) from None


#: The errors with an event class of their own; every other error becomes an ErrorEvent.
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
