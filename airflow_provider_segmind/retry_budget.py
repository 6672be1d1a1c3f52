"""How often and for how long one call is retried: tenacity options for both clients and for downloads."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tenacity import (
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from airflow_provider_segmind.exceptions import SegmindError, SegmindRateLimitedError
from airflow_provider_segmind.jitter import spread

log = logging.getLogger(__name__)

_BACKOFF = wait_random_exponential(multiplier=0.5, max=15)


@dataclass(frozen=True)
class RetryBudget:
    """
    The limits of the retries of one call.

    :param attempts: maximum number of attempts (default 6).
    :param seconds: maximum duration including pauses (default 120); a pause that would end later is not started.
    """

    attempts: int = 6
    seconds: float = 120.0


ONCE = RetryBudget(attempts=1)


def retry_options(
    may_replay: Callable[[SegmindError], bool], budget: RetryBudget, name: str, clock: Callable[[], float]
) -> dict[str, Any]:
    """
    Return the tenacity options of one call.

    :param may_replay: returns whether the call may be sent again after an error.
    :param budget: attempts and seconds.
    :param name: the call's name, for the log.
    :param clock: the current time (epoch seconds).
    """

    def is_retryable(error: BaseException) -> bool:
        return isinstance(error, SegmindError) and may_replay(error)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        reset = error.wait_seconds(clock()) if isinstance(error, SegmindRateLimitedError) else None
        return _BACKOFF(state) if reset is None else spread(reset)

    def report(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        reason = f"{error.what}: {error.detail}" if isinstance(error, SegmindError) else error
        log.warning(
            "%s: attempt %d of %d failed, next in %.1f s (%s)",
            name,
            state.attempt_number,
            budget.attempts,
            state.upcoming_sleep,
            reason,
        )

    return {
        "retry": retry_if_exception(is_retryable),
        "wait": wait,
        "stop": stop_after_attempt(budget.attempts) | stop_before_delay(budget.seconds),
        "before_sleep": report,
        "reraise": True,
    }
