"""SegmindCreditsTrigger: wait for a top-up in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

from airflow.triggers.base import TriggerEvent

from airflow_provider_segmind.exceptions import SegmindError, SegmindRateLimitedError
from airflow_provider_segmind.polling.clock import steady_clock
from airflow_provider_segmind.polling.shared_client import SharedClient
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.credits import CreditsEvent, has_no_balance
from airflow_provider_segmind.triggers.base import SegmindTrigger, serializable


@serializable
class SegmindCreditsTrigger(SegmindTrigger):
    """
    Wait until the balance of an account is high enough, and fire one event.

    Arguments that this version does not know are ignored, with a warning.

    :param segmind_conn_id: Airflow connection, or None for the environment's key.
    :param at_least: the balance to wait for (credits).
    :param deadline: when the wait times out (epoch seconds, UTC).
    :param poll_interval: seconds between polls.
    :param not_before: earliest time of an event (epoch seconds, UTC; default 0), see
        :meth:`.SegmindTrigger.wait_until_allowed`.
    """

    segmind_conn_id: str | None
    at_least: float
    deadline: float
    poll_interval: float
    not_before: float = 0.0

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll the balance until it is high enough or the deadline has passed, and fire one event."""
        clock = steady_clock()
        try:
            async with SharedClient(self.segmind_conn_id) as client:
                await self.connect(client, self.deadline)
                event = await self._wait(client, clock)
        except SegmindError as error:  # the connection is missing or invalid
            event = CreditsEvent(error=error.to_dict())
        await self.wait_until_allowed(self.not_before, clock)
        yield TriggerEvent(event.model_dump(mode="json"))  # type: ignore[no-untyped-call]

    async def _wait(self, client: SharedClient, clock: Callable[[], float]) -> CreditsEvent:
        balance: float | None = None
        while True:
            # The task polled just before it deferred, so the first poll is one interval away. The last is at the
            # deadline.
            await asyncio.sleep(max(0.0, min(self.poll_interval, self.deadline - clock())))
            last = clock() >= self.deadline
            try:
                balance = await _get_balance(client)
            except SegmindError as error:
                if not error.retryable:
                    return CreditsEvent(balance=balance, error=error.to_dict())
                self.log.warning("The balance cannot be read, the next poll follows: %s", error)
                if isinstance(error, SegmindRateLimitedError) and (wait := error.wait_seconds(time.time())):
                    await asyncio.sleep(max(0.0, min(wait, self.deadline - clock())))
            else:
                self.log.info("The balance is %g credits; waiting for %g", balance, self.at_least)
                if balance >= self.at_least:
                    return CreditsEvent(balance=balance)
            if last:
                return CreditsEvent(balance=balance)


async def _get_balance(client: SharedClient) -> float:
    try:
        return (await client.send(calls.get_credits())).total
    except SegmindError as error:
        if has_no_balance(error):
            return 0.0
        raise
