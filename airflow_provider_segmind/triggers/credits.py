"""SegmindCreditsTrigger: wait for a top-up in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_segmind.exceptions import SegmindError, SegmindRateLimitedError
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.polling.drivers import steady_clock
from airflow_provider_segmind.protocol.credits import CreditsEvent, has_no_balance
from airflow_provider_segmind.triggers.segmind import ignore, settle


class SegmindCreditsTrigger(BaseTrigger):
    """
    Wait until a balance is high enough, and fire one event.

    :param segmind_conn_id: Airflow connection, or None for the environment's key.
    :param at_least: the balance that is waited for (credits).
    :param deadline: when to give up (epoch seconds, UTC).
    :param poll_interval: seconds between looks.
    :param not_before: fire no event before (epoch seconds, UTC), see
        :class:`~airflow_provider_segmind.triggers.segmind.SegmindRequestTrigger`.
    :param unknown: arguments of another version, which are ignored.
    """

    def __init__(
        self,
        segmind_conn_id: str | None,
        at_least: float,
        deadline: float,
        poll_interval: float,
        not_before: float = 0.0,
        **unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        ignore(self, unknown)
        self.segmind_conn_id = segmind_conn_id
        self.at_least = at_least
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.not_before = not_before

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class's path and every argument of the constructor."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "segmind_conn_id": self.segmind_conn_id,
                "at_least": self.at_least,
                "deadline": self.deadline,
                "poll_interval": self.poll_interval,
                "not_before": self.not_before,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look at the balance until it is high enough or the deadline has come."""
        clock = steady_clock()
        async with SegmindHook(self.segmind_conn_id) as hook:
            event = await self._wait(hook, clock)
        await settle(self, self.not_before, clock)
        yield TriggerEvent(event.model_dump(mode="json"))  # type: ignore[no-untyped-call]

    async def _wait(self, hook: SegmindHook, clock: Callable[[], float]) -> CreditsEvent:
        balance: float | None = None
        while True:
            # The task has looked just now, so the first look is one interval away; the last is at the deadline.
            await asyncio.sleep(max(0.0, min(self.poll_interval, self.deadline - clock())))
            last = clock() >= self.deadline
            try:
                balance = await _balance(hook)
            except SegmindError as error:
                if not error.retryable:
                    return CreditsEvent(balance=balance, error=error.to_dict())
                self.log.warning("%s", error)
                if isinstance(error, SegmindRateLimitedError) and (wait := error.wait_seconds(time.time())):
                    await asyncio.sleep(max(0.0, min(wait, self.deadline - clock())))
            else:
                self.log.info("The balance is %g credits, %g are waited for", balance, self.at_least)
                if balance >= self.at_least:
                    return CreditsEvent(balance=balance)
            if last:
                return CreditsEvent(balance=balance)


async def _balance(hook: SegmindHook) -> float:
    try:
        return (await hook.aget_credits()).total
    except SegmindError as error:
        if has_no_balance(error):
            return 0.0
        raise
