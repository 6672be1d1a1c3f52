"""SegmindRateLimitTrigger: wait out a rate limit in the triggerer, and be let through one by one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_segmind.polling.drivers import steady_clock
from airflow_provider_segmind.polling.rate_limiter import rate_limiter_for
from airflow_provider_segmind.protocol.events import RateLimitEvent
from airflow_provider_segmind.triggers.segmind import ignore, settle


class SegmindRateLimitTrigger(BaseTrigger):
    """
    Wait until a submit that met a rate limit may be tried, and fire when it is this task's turn.

    Nothing was accepted and nothing is billed; the task uses up no retry and holds no worker.

    :param segmind_conn_id: Airflow connection: all that wait for the same one pass one by one.
    :param opens_at: when the limit resets (epoch seconds, UTC).
    :param started_at: when the task's work began (epoch seconds, UTC), handed back in the event.
    :param deadline: when the task's time is up (epoch seconds, UTC); then it fires, whatever the limit.
    :param not_before: fire no event before (epoch seconds, UTC), see :class:`.SegmindRequestTrigger`.
    :param returns: how often this task has been let through before, and was refused again.
    :param unknown: arguments of another version, which are ignored.
    """

    def __init__(
        self,
        segmind_conn_id: str | None,
        opens_at: float,
        started_at: float,
        deadline: float,
        returns: int = 0,
        not_before: float = 0.0,
        **unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        ignore(self, unknown)
        self.segmind_conn_id = segmind_conn_id
        self.opens_at = opens_at
        self.started_at = started_at
        self.deadline = deadline
        self.returns = returns
        self.not_before = not_before

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class's path and every argument of the constructor."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "segmind_conn_id": self.segmind_conn_id,
                "opens_at": self.opens_at,
                "started_at": self.started_at,
                "deadline": self.deadline,
                "returns": self.returns,
                "not_before": self.not_before,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the turn."""
        await settle(self, self.not_before, steady_clock())  # before the turn, so that the pace stays as it is
        limiter = rate_limiter_for(self.segmind_conn_id)
        if self.returns:
            limiter.refused_again(self.opens_at)
        else:
            limiter.close(self.opens_at)
        await limiter.take_slot(self.deadline)
        event = RateLimitEvent(started_at=self.started_at, returns=self.returns + 1)
        yield TriggerEvent(event.model_dump(mode="json"))  # type: ignore[no-untyped-call]
