"""SegmindBatchTrigger: wait for the open requests of a batch, until there is work for a worker again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.execution.waves import BatchEvent, Memory, Waited
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.polling.drivers import steady_clock
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.protocol.events import Event, event_for
from airflow_provider_segmind.triggers.segmind import connect, ignore, settle

#: So many waits are begun in one tick of the loop.
_BEGUN_AT_ONCE = 20


class SegmindBatchTrigger(BaseTrigger):
    """
    Wait for many requests at once, and fire one event when it is worth a worker.

    That is when all have ended, or when so many have that the next wave can be submitted. Carries ids and times,
    never a key or a picture.

    :param waited: the open requests: ``[{key, request_id, submitted_at}]``, times in epoch seconds (UTC).
    :param segmind_conn_id: Airflow connection, or None for the environment's key.
    :param model: their model slug.
    :param timeout: seconds for each request, from its submit.
    :param need: how many have to have ended before it fires.
    :param resume_at: when it fires at the earliest (epoch seconds, UTC).
    :param not_before: the same for another reason, see :class:`.SegmindRequestTrigger`.
    :param poll_interval: seconds between looks at one request; default: by what is known of the model.
    :param expected_duration: seconds that the model is said to take; default: what its page says, if anything.
    :param inline: the outputs were asked for inside the bodies (base64), which are not fetched here.
    :param memory: what the task knows beyond its requests, handed back in the event.
    :param unknown: arguments of another version, which are ignored.
    """

    def __init__(
        self,
        waited: Sequence[Mapping[str, Any]],
        segmind_conn_id: str | None,
        model: str,
        timeout: float,
        need: int,
        resume_at: float,
        not_before: float = 0.0,
        poll_interval: float | None = None,
        expected_duration: float | None = None,
        inline: bool = False,
        memory: Mapping[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        ignore(self, unknown)
        self.waited = [dict(request) for request in waited]
        self.segmind_conn_id = segmind_conn_id
        self.model = model
        self.timeout = timeout
        self.need = need
        self.resume_at = resume_at
        self.not_before = not_before
        self.poll_interval = poll_interval
        self.expected_duration = expected_duration
        self.inline = inline
        self.memory = dict(memory or {})

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class's path and every argument of the constructor."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "waited": self.waited,
                "segmind_conn_id": self.segmind_conn_id,
                "model": self.model,
                "timeout": self.timeout,
                "need": self.need,
                "resume_at": self.resume_at,
                "not_before": self.not_before,
                "poll_interval": self.poll_interval,
                "expected_duration": self.expected_duration,
                "inline": self.inline,
                "memory": self.memory,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait until there is work for a worker."""
        requests = [Waited.model_validate(request) for request in self.waited]
        ended: dict[str, Event] = {}
        error, clock = None, steady_clock()
        try:
            await self._wait(requests, ended, clock)
        except SegmindError as problem:  # the connection itself is wrong
            error = problem.to_dict()
        await settle(self, self.not_before, clock)
        self.log.info("%d of %d open requests of %s have ended", len(ended), len(requests), self.model)
        event = BatchEvent(
            waited=[request.model_copy(update={"event": ended.get(request.key)}) for request in requests],
            error=error,
            memory=Memory.model_validate(self.memory),
        )
        yield TriggerEvent(event.model_dump(mode="json", exclude_none=True))  # type: ignore[no-untyped-call]

    async def _wait(self, requests: Sequence[Waited], ended: dict[str, Event], clock: Callable[[], float]) -> None:
        arrivals: asyncio.Queue[tuple[str, Event]] = asyncio.Queue()
        async with SegmindHook(self.segmind_conn_id) as hook:
            if requests:
                await connect(self, hook, max(request.submitted_at for request in requests) + self.timeout)
            async with asyncio.TaskGroup() as group:
                watching = []
                for number, request in enumerate(requests, 1):
                    watching.append(group.create_task(self._watch(request, arrivals)))
                    if number % _BEGUN_AT_ONCE == 0:
                        await asyncio.sleep(0)
                await self._until_enough(len(requests), arrivals, ended, clock)
                for task in watching:
                    task.cancel()
        await asyncio.sleep(max(0.0, self.resume_at - clock()))

    async def _watch(self, request: Waited, arrivals: asyncio.Queue[tuple[str, Event]]) -> None:
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
            async with SegmindHook(self.segmind_conn_id) as hook:
                event = await hook.awatch(watch)
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
        """Collect what ends until all have, or enough have and the next wave may start."""
        while len(ended) < total:
            seconds = max(0.0, self.resume_at - clock()) if len(ended) >= self.need else None
            try:
                async with asyncio.timeout(seconds):
                    key, event = await arrivals.get()
            except TimeoutError:
                return
            ended[key] = event

    async def on_kill(self) -> None:
        """Say what a user's mark or clear leaves behind: Segmind has no cancel call (Airflow 3.3 calls this)."""
        self.log.warning(
            "The batch was taken off %d open requests of %s by a user. Segmind has no cancel call: they go on, and "
            "are billed if they complete. Another run of the task within the hour finds them again.",
            len(self.waited),
            self.model,
        )
