"""
Waiting for one request, as a conversation: steps go out, answers and errors come in, an event is the end.

The rules (when to look, what an error means for a wait, what a deadline means) stand here once; plain mode and
the trigger drive the same steps, one with ``time.sleep``, the other with ``asyncio.sleep``.
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
from airflow_provider_segmind.polling.schedule import Durations, PollSchedule, clip, phase_of
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.events import CompletedEvent, Event, FailedEvent, FetchEvent, event_for
from airflow_provider_segmind.protocol.lifetimes import RECORD_LIVES
from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.protocol.wire import Metrics, RequestState

#: Seconds; a poll that fails again and again is repeated at least this often.
_LONGEST_AFTER_ERROR = 30.0
#: What Segmind reports of the request itself: it will not report anything else.
_ENDS = (SegmindRequestFailedError, SegmindUnknownStatusError, SegmindMissingOutputError)
#: What a gateway, or something before it, reports instead.
_REFUSALS = (SegmindResponseError, SegmindRequestExpiredError)
_REFUSED = (
    "Segmind refused every poll for {seconds:.0f} s. The request itself was accepted, and is billed if it completes: "
    "another try polls again. How long polls may be refused: poll_error_timeout, an extra of the connection."
)


@dataclass(frozen=True)
class Pause:
    """Wait this many seconds, then ask for the next step; by the deadline (epoch seconds) at the latest."""

    seconds: float
    deadline: float


Step = Pause | calls.Call[Any]


def may_pass(error: SegmindError) -> bool:
    """Return whether an error response to a poll or a result may pass: not what Segmind reports of the request."""
    return isinstance(error, _REFUSALS) and not isinstance(error, _ENDS)


@dataclass
class Refusals:
    """
    For how long polls may be refused: any error response but FAILED, to a request that is paid for.

    :param tolerance: seconds.
    :param since: when the first of the refusals in a row came (any clock); None while there is none.
    """

    tolerance: float
    since: float | None = None

    def tolerates(self, error: SegmindError, now: float) -> bool:
        """Return whether the wait goes on after an error; else the error says for how long polls were refused."""
        if error.retryable:
            self.since = None
            return True
        if not may_pass(error):
            return False
        self.since = now if self.since is None else self.since
        seconds = now - self.since
        if seconds >= self.tolerance and not isinstance(error, SegmindRequestExpiredError):
            error.retryable, error.next_step = True, _REFUSED.format(seconds=seconds)
        return seconds < self.tolerance


@dataclass(frozen=True)
class Watch:
    """
    The wait for one request.

    :param request_id: the request.
    :param model: its slug.
    :param submitted_at: when it was submitted (epoch seconds).
    :param deadline: when to give up (epoch seconds); it survives restarts unchanged.
    :param poll_interval: seconds between looks; None (default) to go by what is known of the model.
    :param expected_duration: seconds that the model is said to take; default: what its page says, if anything.
    :param queue_timeout: seconds that it may be QUEUED, from the submit; None for as long as the deadline allows.
    :param not_before: do not look before (epoch seconds).
    :param tolerance: seconds for which polls may be refused (any error but FAILED) before the wait ends with that.
    :param inline: the output was asked for inside the body (base64): the body is not fetched here.
    :param on_state: told each state as it is first seen.
    :param durations: what this process has learned of the model; it learns from this request, too.
    """

    request_id: str
    model: str
    submitted_at: float
    deadline: float
    poll_interval: float | None = None
    expected_duration: float | None = None
    queue_timeout: float | None = None
    not_before: float = 0.0
    tolerance: float = 60.0
    inline: bool = False
    on_state: Callable[[RequestState], None] = field(default=lambda state: None, repr=False)
    durations: Durations = field(default_factory=Durations, repr=False, compare=False)

    def schedule(self, now: float) -> PollSchedule:
        """Return when to look, by what is known of the model now (epoch seconds)."""
        prior = self.expected_duration
        if prior is None and (page := MODELS.get(self.model)) is not None:
            prior = page.expected_seconds
        return PollSchedule(self.durations.known(prior, now=now), self.poll_interval, phase_of(self.request_id))

    def first_poll(self, now: float) -> float:
        """Return the seconds from now (epoch seconds) to the first look."""
        return self.schedule(now).first(max(0.0, now - self.submitted_at))

    def steps(self, clock: Callable[[], float]) -> Generator[Step, Any, Event]:
        """
        Go through the wait.

        Yields a call to send (answer it with what it reads, or throw its error in) or a :class:`Pause`. Errors
        that may pass are tolerated until the deadline, and a refusal for ``tolerance`` seconds: the request is paid
        for, and a deploy, a firewall or a proxy refuses for a while. After a deadline that passed meanwhile (a
        triggerer that was down) there is one last poll, because the output may be there.
        """
        state: RequestState | None = None
        trouble, failures, refusals = None, 0, Refusals(self.tolerance)
        now = clock()
        pause = max(self.first_poll(now), self.not_before - now)
        while True:
            deadline = self._deadline(state)
            if seconds := clip(pause, now=clock(), deadline=deadline):
                yield Pause(seconds, deadline)
            now = clock()
            try:
                seen = yield calls.get_status(self.request_id)
                if seen.state is not state:
                    state = seen.state
                    self.on_state(state)
                if state is RequestState.FAILED:
                    return FailedEvent(request_id=self.request_id, error=seen.failure().to_dict())
                if state is RequestState.COMPLETED and self.inline:
                    self._learn(seen.metrics, clock())
                    return FetchEvent(request_id=self.request_id)
                if state is RequestState.COMPLETED:
                    result = yield calls.get_result(self.request_id, model=self.model)
                    self._learn(result.metrics, clock())
                    if result.fetchable:
                        return CompletedEvent(request_id=self.request_id, result=result)
                    return FetchEvent(request_id=self.request_id)
            except SegmindError as error:
                trouble, failures = error, failures + 1
                if self._is_forgotten(error, now) or not refusals.tolerates(error, clock()):
                    error.retryable |= may_pass(error)
                    return event_for(error, request_id=self.request_id)
            else:
                trouble, failures, refusals.since = None, 0, None
            if now >= self._deadline(state if trouble is None else None):
                return event_for(self._timeout(state, trouble, clock()), request_id=self.request_id)
            pause = self._pause(trouble, failures, clock())

    def _is_forgotten(self, error: SegmindError, now: float) -> bool:
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
        return max(planned, min(_LONGEST_AFTER_ERROR, 0.25 * 2.0 ** min(failures, 10)))

    def _timeout(self, state: RequestState | None, trouble: SegmindError | None, now: float) -> SegmindTimeoutError:
        reported = (
            f"{self.model} was still {state or 'in an unknown state'} {now - self.submitted_at:.0f} s after the submit"
        )
        if trouble is not None:
            reported += f"; the last look failed: {trouble}"
        return SegmindTimeoutError(reported, request_id=self.request_id)
