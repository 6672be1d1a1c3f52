"""SegmindRetryPolicy: the error decides whether and when Airflow retries a task (Airflow 3.3)."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.compat import RetryDecision, RetryPolicy
from airflow_provider_segmind.exceptions import (
    SegmindError,
    SegmindInsufficientCreditsError,
    SegmindRateLimitedError,
)

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class SegmindRetryPolicy(RetryPolicy):
    """
    Retry errors that may be temporary; fail the task at once for the others.

    A permanent error fails the task with its message. A rate limit is retried at its reset. Missing credits and spend
    limits fail the task, or are retried after ``wait_for_credits``. Other temporary errors (gateway, server, timeout,
    storage) are retried with the task's own delay. Errors of other packages get the task's default. The number of
    retries is always the task's own.

    The upscaling operators use this policy if the author of the DAG sets none; combine it with others by
    ``ChainRetryPolicy``. Before Airflow 3.3 it has no effect: permanent errors and missing credits fail a task at once,
    and all other errors follow its ``retries`` and their delay.

    :param wait_for_credits: time until a retry after missing credits (default: fail instead).
    """

    def __init__(self, wait_for_credits: timedelta | None = None) -> None:
        self.wait_for_credits = wait_for_credits

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Context | None = None,
    ) -> RetryDecision:
        """Return the decision about one failure."""
        error = exception if isinstance(exception, SegmindError) else exception.__cause__
        if not isinstance(error, SegmindError):
            return RetryDecision.default()
        reason = str(error)
        if isinstance(error, SegmindInsufficientCreditsError) and self.wait_for_credits is not None:
            return RetryDecision.retry(self.wait_for_credits, reason=reason)
        if not error.retryable:
            return RetryDecision.fail(reason=reason)
        if isinstance(error, SegmindRateLimitedError) and (seconds := error.wait_seconds(time.time())) is not None:
            return RetryDecision.retry(timedelta(seconds=seconds + 1), reason=reason)
        return RetryDecision.retry(reason=reason)

    def serialize(self) -> dict[str, Any]:
        """Return the policy as JSON (seconds)."""
        wait = self.wait_for_credits
        return {"wait_for_credits": None if wait is None else wait.total_seconds()}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> SegmindRetryPolicy:
        """Return the policy that :meth:`serialize` wrote."""
        wait = data.get("wait_for_credits")
        return cls(None if wait is None else timedelta(seconds=wait))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SegmindRetryPolicy) and self.serialize() == other.serialize()

    def __hash__(self) -> int:
        return hash(self.wait_for_credits)
