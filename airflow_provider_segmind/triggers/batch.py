"""SegmindBatchTrigger: wait for the open requests of a batch in the triggerer, until a worker can continue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.execution.waves import BatchEvent, Memory, Waited
from airflow_provider_segmind.polling.clock import steady_clock
from airflow_provider_segmind.polling.drivers import await_request
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.polling.shared_client import SharedClient
from airflow_provider_segmind.protocol.events import Event, event_for
from airflow_provider_segmind.triggers.base import SegmindTrigger, serializable

#: Number of waits that are started before the event loop runs other tasks.
_STARTED_AT_ONCE = 20


@serializable
class SegmindBatchTrigger(SegmindTrigger):
    """
    Wait for many requests at once, and fire one event when a worker can continue.

    That is when all requests have ended, or when enough have that the next wave can be submitted. The trigger carries
    ids and times, never a key or an image. Arguments that this version does not know are ignored, with a warning.

    :param waited: the open requests: ``[{key, request_id, submitted_at}]``, times in epoch seconds (UTC).
    :param segmind_conn_id: Airflow connection, or None for the environment's key.
    :param model: their model slug.
    :param timeout: seconds for each request, from its submit.
    :param need: how many requests have to end before the event is fired.
    :param resume_at: earliest time of an event with open requests (epoch seconds, UTC).
    :param not_before: earliest time of any event (epoch seconds, UTC; default 0), see
        :meth:`.SegmindTrigger.wait_until_allowed`.
    :param poll_interval: fixed seconds between polls of one request (default: follow the estimated duration of the
        model).
    :param expected_duration: seconds that the model is expected to take (default: the time on its page, if any).
    :param inline: the outputs were requested inside the bodies (base64), so the trigger does not fetch them (default
        False).
    :param memory: what the task knows beyond its requests, returned in the event (default: nothing).
    """

    waited: Sequence[Mapping[str, Any]]
    segmind_conn_id: str | None
    model: str
    timeout: float
    need: int
    resume_at: float
    not_before: float = 0.0
    poll_interval: float | None = None
    expected_duration: float | None = None
    inline: bool = False
    memory: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.waited = [dict(request) for request in self.waited]
        self.memory = dict(self.memory or {})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait until a worker can continue, and fire one event."""
        requests = [Waited.model_validate(request) for request in self.waited]
        ended: dict[str, Event] = {}
        error, clock = None, steady_clock()
        try:
            await self._wait(requests, ended, clock)
        except SegmindError as problem:  # the connection is missing or invalid
            error = problem.to_dict()
        await self.wait_until_allowed(self.not_before, clock)
        self.log.info("%d of %d open requests of %s have ended", len(ended), len(requests), self.model)
        event = BatchEvent(
            waited=[request.model_copy(update={"event": ended.get(request.key)}) for request in requests],
            error=error,
            memory=Memory.model_validate(self.memory),
        )
        yield TriggerEvent(event.model_dump(mode="json", exclude_none=True))  # type: ignore[no-untyped-call]

    async def _wait(self, requests: Sequence[Waited], ended: dict[str, Event], clock: Callable[[], float]) -> None:
        arrivals: asyncio.Queue[tuple[str, Event]] = asyncio.Queue()
        async with SharedClient(self.segmind_conn_id) as client:
            if requests:
                await self.connect(client, max(request.submitted_at for request in requests) + self.timeout)
            async with asyncio.TaskGroup() as group:
                waits = []
                for number, request in enumerate(requests, 1):
                    waits.append(group.create_task(self._wait_for_one(request, arrivals)))
                    if number % _STARTED_AT_ONCE == 0:
                        await asyncio.sleep(0)
                await self._until_enough(len(requests), arrivals, ended, clock)
                for task in waits:
                    task.cancel()
        await asyncio.sleep(max(0.0, self.resume_at - clock()))

    async def _wait_for_one(self, request: Waited, arrivals: asyncio.Queue[tuple[str, Event]]) -> None:
        watch = Watch(
            request_id=request.request_id,
            model=self.model,
            submitted_at=request.submitted_at,
            deadline=request.submitted_at + self.timeout,
            poll_interval=self.poll_interval,
            expected_duration=self.expected_duration,
            inline=self.inline,
        )
        try:
            async with SharedClient(self.segmind_conn_id) as client:
                event = await await_request(client, watch)
        except SegmindError as error:
            event = event_for(error, request_id=request.request_id)
        arrivals.put_nowait((request.key, event))

    async def _until_enough(
        self,
        total: int,
        arrivals: asyncio.Queue[tuple[str, Event]],
        ended: dict[str, Event],
        clock: Callable[[], float],
    ) -> None:
        """Collect the events of ended requests until all have ended, or enough have and the next wave may start."""
        while len(ended) < total:
            seconds = max(0.0, self.resume_at - clock()) if len(ended) >= self.need else None
            try:
                async with asyncio.timeout(seconds):
                    key, event = await arrivals.get()
            except TimeoutError:
                return
            ended[key] = event

    async def on_kill(self) -> None:
        """Log what happens to the requests after a user marked or cleared the task (Airflow 3.3 calls this)."""
        self.log.warning(
            "A user ended the batch while %d requests of %s were open. Segmind has no cancel call: the requests "
            "continue, and are billed if they complete. Another run of the task within an hour reattaches to them.",
            len(self.waited),
            self.model,
        )
