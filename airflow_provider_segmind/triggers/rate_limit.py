"""SegmindRateLimitTrigger: wait for the end of a rate limit in the triggerer, then for the task's turn to submit."""

from __future__ import annotations

from collections.abc import AsyncIterator

from airflow.triggers.base import TriggerEvent

from airflow_provider_segmind.polling.clock import steady_clock
from airflow_provider_segmind.polling.limits import limits_of
from airflow_provider_segmind.protocol.events import RateLimitEvent
from airflow_provider_segmind.triggers.base import SegmindTrigger, serializable


@serializable
class SegmindRateLimitTrigger(SegmindTrigger):
    """
    Wait until a submit that was refused by a rate limit may be sent, and fire an event.

    Nothing was accepted and nothing is billed. The task uses no retry and no worker slot meanwhile. Arguments that
    this version does not know are ignored, with a warning.

    :param segmind_conn_id: Airflow connection. Tasks that wait for the same connection resume one by one.
    :param opens_at: when the rate limit resets (epoch seconds, UTC).
    :param started_at: when the task's work began (epoch seconds, UTC), returned in the event.
    :param deadline: when the task times out (epoch seconds, UTC); the event fires then at the latest.
    :param returns: how many times this task has resumed and was refused again (default 0).
    :param not_before: earliest time of an event (epoch seconds, UTC; default 0), see
        :meth:`.SegmindTrigger.wait_until_allowed`.
    """

    segmind_conn_id: str | None
    opens_at: float
    started_at: float
    deadline: float
    returns: int = 0
    not_before: float = 0.0

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the task's turn, and fire one event."""
        # Before the turn, so that the interval between two submits is kept.
        await self.wait_until_allowed(self.not_before, steady_clock())
        limiter = limits_of(self.segmind_conn_id).rate_limiter
        if self.returns:
            limiter.refused_again(self.opens_at)
        else:
            limiter.close(self.opens_at)
        await limiter.wait_for_submit(self.deadline)
        event = RateLimitEvent(started_at=self.started_at, returns=self.returns + 1)
        yield TriggerEvent(event.model_dump(mode="json"))  # type: ignore[no-untyped-call]
