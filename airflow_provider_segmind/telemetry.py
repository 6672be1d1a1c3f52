"""
Report the outcome and the cost of each request once: in one log line, in Airflow's metrics and in its trace.

Tasks and triggers call this module where they learn how a request ended. An error in here does not fail the task,
because the request is paid for.
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
    SKIPPED = "skipped"  # the object was stored already (skip_existing): nothing was submitted
    FAILED = "failed"
    BLOCKED = "blocked"  # failed, because of its content
    TIMEOUT = "timeout"  # the task stopped waiting: the request continues, and another try may complete it
    EXPIRED = "expired"  # Segmind does not know it (any more)
    LOST = "lost"  # the response to its submit was lost, and the history does not show the request
    ERROR = "error"  # any other error ended the wait, such as an invalid key


#: The first class that an error is an instance of decides its outcome.
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
    summary: str = ""
    error: str | None = None

    def line(self) -> str:
        request = f"{self.request_id or 'without an id'} ({self.model or 'model unknown'})"
        return f"Segmind request {request} {self.outcome}: {self.summary}"

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
    Report the cost and the duration of a completed request.

    :param result: of the request.
    :param one_of_many: the task has many requests: each gets a span of its own, below the span of the task.
    :param submitted_at: start of that span: when the request was submitted (epoch seconds); default: now.
    """
    found = result.metrics
    summary = (
        f"cost {found.cost} USD, balance {found.remaining_credits} credits; {found.total_time} s in all, "
        f"{found.queue_time} s queued, {found.inference_time} s running"
    )
    end = _End(result.model, Outcome.COMPLETED, result.request_id, found, summary)
    _report(end, one_of_many=one_of_many, submitted_at=submitted_at)


def skipped(model: str, value: Mapping[str, Any], why: str) -> None:
    """
    Report that nothing had to be submitted.

    :param model: the slug.
    :param value: the result of the task, with the id of the request that made the stored object.
    :param why: what was found.
    """
    metrics = Metrics(cost=0.0)
    _report(_End(model, Outcome.SKIPPED, value.get("request_id"), metrics, f"cost 0 USD; {why}"))


def ended_badly(
    model: str,
    error: SegmindError,
    *,
    request_id: str | None = None,
    one_of_many: bool = False,
    submitted_at: float | None = None,
) -> None:
    """
    Report the error that ended a wait. Without a request nothing is reported: no request was accepted.

    :param model: the slug.
    :param error: what ended the wait.
    :param request_id: of the request, if the error does not name it.
    :param one_of_many: see :func:`completed`.
    :param submitted_at: see :func:`completed`.
    """
    about = error.request_id or request_id
    if about is None and not isinstance(error, SegmindUnknownOutcomeError):
        return
    outcome = next(outcome for cls, outcome in _OUTCOMES if isinstance(error, cls))
    end = _End(model, outcome, about, summary=str(error), error=type(error).__name__)
    _report(end, one_of_many=one_of_many, submitted_at=submitted_at)


@contextmanager
def counting_errors(model: str, request_id: str | None = None) -> Iterator[None]:
    """Report a SegmindError that is raised inside by :func:`ended_badly`, and raise it again."""
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
    except Exception as error:  # noqa: BLE001  an error of a backend must not fail a task that has paid
        log.warning("Segmind request %s is missing from metrics or traces: %r", end.request_id, error)


def _count(end: _End) -> None:
    """
    Send the metrics. Airflow adds its prefix to the names, and drops the tags if the backend does not support them.

    The cost is a counter, because it is summed. It is in whole micro-dollars, because Airflow's counters are integers
    and some collectors drop decimals. A gauge does not fit: DogStatsD has no gauge by differences, and OpenTelemetry's
    starts at zero in each process. A timer does not fit: some collectors convert its milliseconds to seconds.
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
    """Add the outcome to the span that Airflow has opened for the task or trigger, if tracing is on."""
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
        own.set_status(trace.StatusCode.ERROR, end.summary)
    own.end()
