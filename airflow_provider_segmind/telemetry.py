"""
Cost in sight: what became of a request, told once, in one log line, in Airflow's metrics and in its trace.

Called in one line wherever it becomes known how a request ended, by task and trigger alike. It never fails a task: what
it tells of is paid for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from airflow_provider_segmind.exceptions import (
    SegmindContentBlockedError,
    SegmindError,
    SegmindRequestExpiredError,
    SegmindRequestFailedError,
    SegmindTimeoutError,
    SegmindUnknownOutcomeError,
)
from airflow_provider_segmind.protocol.wire import Metrics, Result

log = logging.getLogger(__name__)


class Outcome(StrEnum):
    """How a request ended for the task that waited for it."""

    COMPLETED = "completed"
    SKIPPED = "skipped"  # it was there already (skip_existing): nothing was submitted
    FAILED = "failed"
    BLOCKED = "blocked"  # failed, because of its content
    TIMEOUT = "timeout"  # the task gave up: the request goes on, and another try may still complete it
    EXPIRED = "expired"  # Segmind does not know it (any more)
    LOST = "lost"  # the answer to its submit was lost, and the history does not show it
    ERROR = "error"  # something else ended the wait, such as a key that is refused


#: The first that fits tells the outcome.
_OUTCOMES: tuple[tuple[type[SegmindError], Outcome], ...] = (
    (SegmindContentBlockedError, Outcome.BLOCKED),
    (SegmindRequestFailedError, Outcome.FAILED),
    (SegmindTimeoutError, Outcome.TIMEOUT),
    (SegmindRequestExpiredError, Outcome.EXPIRED),
    (SegmindUnknownOutcomeError, Outcome.LOST),
    (SegmindError, Outcome.ERROR),
)


@dataclass(frozen=True)
class _End:
    model: str
    outcome: Outcome
    request_id: str | None
    metrics: Metrics = field(default_factory=Metrics)
    words: str = ""
    error: str | None = None

    def line(self) -> str:
        named = f"{self.request_id or 'without an id'} ({self.model or 'model unknown'})"
        return f"Segmind request {named} {self.outcome}: {self.words}"

    def attributes(self) -> dict[str, str | float]:
        named = {
            "segmind.model": self.model or None,
            "segmind.outcome": str(self.outcome),
            "segmind.request_id": self.request_id,
            "error.type": self.error,
            **{f"segmind.{name}": value for name, value in self.metrics},
        }
        return {name: value for name, value in named.items() if value is not None}


def completed(result: Result, *, one_of_many: bool = False, submitted_at: float | None = None) -> None:
    """
    Tell what a completed request cost and how long it took.

    :param one_of_many: the task has many requests: each gets a span of its own, below the task's.
    :param submitted_at: with ``one_of_many``: when it was submitted (epoch seconds), where its span begins.
    """
    found = result.metrics
    words = (
        f"cost {found.cost} credits, {found.remaining_credits} left; {found.total_time} s in all, "
        f"{found.queue_time} s queued, {found.inference_time} s running"
    )
    end = _End(result.model, Outcome.COMPLETED, result.request_id, found, words)
    _report(end, one_of_many=one_of_many, submitted_at=submitted_at)


def skipped(model: str, value: Mapping[str, Any], why: str) -> None:
    """
    Tell that nothing had to be submitted.

    :param value: what the task hands on, with the id of the request that once made it.
    :param why: what was found.
    """
    metrics = Metrics(cost=0.0)
    _report(_End(model, Outcome.SKIPPED, value.get("request_id"), metrics, f"cost 0 credits; {why}"))


def ended_badly(
    model: str,
    error: SegmindError,
    *,
    request_id: str | None = None,
    one_of_many: bool = False,
    submitted_at: float | None = None,
) -> None:
    """Tell which error ended a wait; nothing where the error is about no request: then none was accepted."""
    about = error.request_id or request_id
    if about is None and not isinstance(error, SegmindUnknownOutcomeError):
        return
    outcome = next(outcome for cls, outcome in _OUTCOMES if isinstance(error, cls))
    end = _End(model, outcome, about, words=str(error), error=type(error).__name__)
    _report(end, one_of_many=one_of_many, submitted_at=submitted_at)


@contextmanager
def counting_errors(model: str, request_id: str | None = None) -> Iterator[None]:
    """Tell the error that ends the wait for a request inside, and pass it on."""
    try:
        yield
    except SegmindError as error:
        ended_badly(model, error, request_id=request_id)
        raise


def _report(end: _End, *, one_of_many: bool = False, submitted_at: float | None = None) -> None:
    good = end.outcome in (Outcome.COMPLETED, Outcome.SKIPPED)
    log.log(logging.INFO if good else logging.WARNING, "%s", end.line())
    try:
        _count(end)
        _trace(end, one_of_many=one_of_many, submitted_at=submitted_at)
    except Exception as error:  # noqa: BLE001  whatever a backend raises: the request is paid for
        log.warning("Segmind request %s could not be told to metrics or traces: %r", end.request_id, error)


def _count(end: _End) -> None:
    """
    Send the metrics. Airflow's prefix is put before the names, and where its backend knows no tags they are left out.

    The cost is a counter, because it is summed, and in whole micro-credits: Airflow's counters are integers, and some
    collectors cut what is behind the point. A gauge by differences is none in DogStatsD and begins at zero in each
    task's process with OpenTelemetry; a timer is in milliseconds to collectors that turn these into seconds.
    """
    from airflow.providers.common.compat.sdk import Stats

    tags, found = {"model": end.model or "unknown", "outcome": str(end.outcome)}, end.metrics
    Stats.incr("segmind.requests", tags=tags)
    if found.cost is not None:
        Stats.incr("segmind.cost", count=round(max(0.0, found.cost) * 1_000_000), tags=tags)
    for name in ("inference_time", "queue_time"):
        seconds = getattr(found, name)
        if seconds is not None:
            Stats.timing(f"segmind.{name}", timedelta(seconds=seconds), tags=tags)


def _trace(end: _End, *, one_of_many: bool, submitted_at: float | None) -> None:
    """Write it to the span that Airflow has opened for the task or trigger; nothing where tracing is off."""
    try:
        from opentelemetry import trace
    except ImportError:  # an Airflow without it
        return
    span = trace.get_current_span()
    if not span.is_recording():
        return
    if not one_of_many:
        span.set_attributes(end.attributes())
        return
    own = trace.get_tracer(__package__).start_span(
        "segmind.request",
        kind=trace.SpanKind.CLIENT,
        attributes=end.attributes(),
        start_time=None if submitted_at is None else int(submitted_at * 1e9),
    )
    if end.error:
        own.set_status(trace.StatusCode.ERROR, end.words)
    own.end()
