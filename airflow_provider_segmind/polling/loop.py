"""
The poll loop of one request, as a generator: it yields calls and pauses, and returns an event.

All rules of a wait are here: when to poll, which errors end the wait, what happens at the deadline. ``drivers.py``
runs the same generator with ``time.sleep`` in a task process and with ``asyncio.sleep`` in a triggerer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_segmind.exceptions import (
    SegmindError,
    SegmindMissingOutputError,
    SegmindRateLimitedError,
    SegmindRequestExpiredError,
    SegmindRequestFailedError,
    SegmindResponseError,
    SegmindTimeoutError,
    SegmindUnknownStatusError,
)
from airflow_provider_segmind.polling.durations import Durations
from airflow_provider_segmind.polling.schedule import PollSchedule, clip, phase_of
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.events import CompletedEvent, Event, FailedEvent, FetchEvent, event_for
from airflow_provider_segmind.protocol.lifetimes import RECORD_LIVES
from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.protocol.wire import Metrics, RequestState

#: Seconds; maximum interval between two polls after errors.
_MAX_INTERVAL_AFTER_ERROR = 30.0
#: Error responses that state how the request itself ended: another poll would return the same.
_ENDS = (SegmindRequestFailedError, SegmindUnknownStatusError, SegmindMissingOutputError)
#: Error responses of a gateway, or of a proxy or firewall in front of it.
_REFUSALS = (SegmindResponseError, SegmindRequestExpiredError)
_REFUSED = (
    "Segmind refused every poll for {seconds:.0f} s. The request itself was accepted, and is billed if it completes: "
    "another try polls again. The connection's extra poll_error_timeout sets how long polls may be refused."
)


@dataclass(frozen=True)
class Pause:
    """
    A pause before the next step.

    :param seconds: how long.
    :param deadline: when it ends at the latest (epoch seconds).
    """

    seconds: float
    deadline: float


#: Next step of a request that was queued longer than ``queue_timeout``.
_QUEUED = (
    "It was queued longer than queue_timeout. It still runs and is billed if it completes. Another try reattaches to "
    "it; raise queue_timeout if Segmind is busy."
)
#: Seconds between two reports of the progress of a request whose state does not change.
PROGRESS_INTERVAL = 60.0
_OPEN = (RequestState.QUEUED, RequestState.PROCESSING)

Step = Pause | calls.Call[Any]


def is_refusal(error: SegmindError) -> bool:
    """Return whether an error refuses a poll or a result, and does not state how the request itself ended."""
    return isinstance(error, _REFUSALS) and not isinstance(error, _ENDS)


@dataclass
class Refusals:
    """
    Consecutive refusals of polls: every error response except FAILED, for a request that is billed.

    :param timeout: seconds for which refusals are tolerated.
    :param since: when the first of the consecutive refusals arrived (any clock); None (default) if there is none.
    """

    timeout: float
    since: float | None = None

    def tolerates(self, error: SegmindError, now: float) -> bool:
        """
        Return whether the wait continues after this error.

        If it does not because of the timeout, the error becomes retryable and states how long polls were refused.

        :param now: the current time, on the same clock as ``since``.
        """
        if error.retryable:
            self.since = None
            return True
        if not is_refusal(error):
            return False
        self.since = now if self.since is None else self.since
        seconds = now - self.since
        if seconds >= self.timeout and not isinstance(error, SegmindRequestExpiredError):
            error.retryable, error.next_step = True, _REFUSED.format(seconds=seconds)
        return seconds < self.timeout


@dataclass
class _Progress:
    """When the progress of a request is reported."""

    watch: Watch
    state: RequestState | None = None
    reported_at: float = 0.0

    def update(self, state: RequestState, now: float) -> None:
        """Report a new state, and the same one again after a minute; the end is reported by the event."""
        is_new = state is not self.state
        self.state = state
        if state in _OPEN and (is_new or now - self.reported_at >= PROGRESS_INTERVAL):
            self.reported_at = now
            self.watch.on_progress(state, now - self.watch.submitted_at)


@dataclass(frozen=True)
class Watch:
    """
    The wait for one request.

    :param request_id: the request.
    :param model: its slug.
    :param submitted_at: when it was submitted (epoch seconds).
    :param deadline: when the wait times out (epoch seconds); a restart does not change it.
    :param poll_interval: fixed seconds between polls; None (default) to follow the estimated duration of the model.
    :param expected_duration: seconds that the model is expected to take; default: the time on its page, if any.
    :param queue_timeout: seconds that the request may be QUEUED after its submit; None (default) for no limit of its
        own.
    :param not_before: earliest time of the first poll (epoch seconds; default 0).
    :param poll_error_timeout: seconds for which polls may be refused (default 60), see :class:`Refusals`.
    :param inline: the output was requested inside the body (base64), so the loop does not fetch it (default False).
    :param on_progress: called with the state and the seconds since the submit: when the state changes, and every minute
        while it does not. Not called for the end, which the event reports.
    :param durations: what this process has learned of the model; a completed request adds its own duration.
    """

    request_id: str
    model: str
    submitted_at: float
    deadline: float
    poll_interval: float | None = None
    expected_duration: float | None = None
    queue_timeout: float | None = None
    not_before: float = 0.0
    poll_error_timeout: float = 60.0
    inline: bool = False
    on_progress: Callable[[RequestState, float], None] = field(default=lambda state, seconds: None, repr=False)
    durations: Durations = field(default_factory=Durations, repr=False, compare=False)

    def schedule(self, now: float) -> PollSchedule:
        """Return the poll schedule by what is known of the model now (epoch seconds)."""
        prior = self.expected_duration
        if prior is None and (page := MODELS.get(self.model)) is not None:
            prior = page.expected_seconds
        estimate = self.durations.estimate(prior, now=now)
        return PollSchedule(estimate, self.poll_interval, phase_of(self.request_id))

    def first_poll(self, now: float) -> float:
        """Return the seconds from now (epoch seconds) to the first poll."""
        return self.schedule(now).first(max(0.0, now - self.submitted_at))

    def steps(self, clock: Callable[[], float]) -> Generator[Step, Any, Event]:
        """
        Run the poll loop.

        Yields a :class:`Pause`, or a call to send: send its parsed response into the generator, or throw its error.
        Transient errors are tolerated until the deadline, and refusals for ``poll_error_timeout`` seconds: the request
        is billed, and a deployment, a firewall or a proxy may refuse polls for a while. If the deadline passed before
        the start (the triggerer was down), one last poll is sent, because the request may have completed.

        :param clock: returns the current time (epoch seconds).
        """
        state: RequestState | None = None
        trouble, failures, refusals = None, 0, Refusals(self.poll_error_timeout)
        progress = _Progress(self)
        now = clock()
        pause = max(self.first_poll(now), self.not_before - now)
        while True:
            deadline = self._deadline(state)
            if seconds := clip(pause, now=clock(), deadline=deadline):
                yield Pause(seconds, deadline)
            now = clock()
            try:
                status = yield calls.get_status(self.request_id)
                progress.update(state := status.state, clock())
                if state is RequestState.FAILED:
                    return FailedEvent(request_id=self.request_id, error=status.failure().to_dict())
                if state is RequestState.COMPLETED and self.inline:
                    self._learn(status.metrics, clock())
                    return FetchEvent(request_id=self.request_id)
                if state is RequestState.COMPLETED:
                    result = yield calls.get_result(self.request_id, model=self.model)
                    self._learn(result.metrics, clock())
                    if result.fetchable:
                        return CompletedEvent(request_id=self.request_id, result=result)
                    return FetchEvent(request_id=self.request_id)
            except SegmindError as error:
                trouble, failures = error, failures + 1
                if self._has_expired(error, now) or not refusals.tolerates(error, clock()):
                    error.retryable |= is_refusal(error)
                    return event_for(error, request_id=self.request_id)
            else:
                trouble, failures, refusals.since = None, 0, None
            if now >= self._deadline(state if trouble is None else None):
                return event_for(self._timeout(state, trouble, clock()), request_id=self.request_id)
            pause = self._pause(trouble, failures, clock())

    def _has_expired(self, error: SegmindError, now: float) -> bool:
        return isinstance(error, SegmindRequestExpiredError) and now - self.submitted_at > RECORD_LIVES

    def _deadline(self, state: RequestState | None) -> float:
        if state is RequestState.QUEUED and self.queue_timeout is not None:
            return min(self.deadline, self.submitted_at + self.queue_timeout)
        return self.deadline

    def _learn(self, metrics: Metrics, now: float) -> None:
        self.durations.learn(metrics.total_time, submitted_at=self.submitted_at, now=now)

    def _pause(self, trouble: SegmindError | None, failures: int, now: float) -> float:
        planned = self.schedule(now).next(max(0.0, now - self.submitted_at))
        if trouble is None:
            return planned
        if isinstance(trouble, SegmindRateLimitedError) and (reset := trouble.wait_seconds(now)) is not None:
            return max(planned, reset)
        return max(planned, min(_MAX_INTERVAL_AFTER_ERROR, 0.25 * 2.0 ** min(failures, 10)))

    def _timeout(self, state: RequestState | None, trouble: SegmindError | None, now: float) -> SegmindTimeoutError:
        detail = (
            f"{self.model} was still {state or 'in an unknown state'} {now - self.submitted_at:.0f} s after the submit"
        )
        if trouble is not None:
            detail += f"; the last poll failed: {trouble}"
        next_step = _QUEUED if state is RequestState.QUEUED and now < self.deadline else None
        return SegmindTimeoutError(detail, request_id=self.request_id, next_step=next_step)
