"""SegmindRequestTrigger: wait for one request in the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from typing import Any

from airflow.triggers.base import BaseTrigger, TaskSuccessEvent, TriggerEvent

from airflow_provider_segmind import telemetry
from airflow_provider_segmind.compat import aset_xcom
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.polling.drivers import steady_clock
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.protocol.events import CompletedEvent, event_for
from airflow_provider_segmind.protocol.models import model_page
from airflow_provider_segmind.protocol.wire import RequestState, Result

#: Where Airflow looks for what a task returned; importing the name would load the models and SQLAlchemy.
_XCOM_RETURN_KEY = "return_value"
#: Seconds for which a connection that cannot be read is asked for again.
_CONNECTION_TIMEOUT = 60.0


def in_triggerer(trigger: BaseTrigger) -> bool:
    """Tell whether a triggerer runs this; dag.test() runs triggers inline and has no scheduler to wait for."""
    return trigger.trigger_id is not None


def ignore(trigger: BaseTrigger, unknown: Collection[str]) -> None:
    """
    Say which arguments this version does not know: a wait goes on without them.

    Workers and triggerers are not upgraded in the same moment, so a trigger may have been written by a newer version.
    Without this Airflow fails the task ("Trigger failed to inflate"), while its request goes on and is billed.
    """
    if unknown:
        trigger.log.warning("Ignored, as another version of the provider wrote it: %s", ", ".join(sorted(unknown)))


async def settle(trigger: BaseTrigger, not_before: float, clock: Callable[[], float]) -> None:
    """
    Wait until an event may be fired, see ``not_before``.

    :param clock: the trigger's own steady clock (epoch seconds).
    """
    if in_triggerer(trigger):
        await asyncio.sleep(max(0.0, not_before - clock()))


async def connect(trigger: BaseTrigger, hook: SegmindHook, deadline: float) -> None:
    """
    Read the connection; a secrets backend that is down for a moment looks like no connection at all.

    :param deadline: when to give up (epoch seconds), if patience does not end earlier.
    """
    clock = steady_clock()
    until = min(deadline, clock() + _CONNECTION_TIMEOUT) if in_triggerer(trigger) else 0.0
    while True:
        try:
            await hook.aget_conn()
            return
        except SegmindConfigError as error:
            if clock() >= until:
                error.retryable = True  # what was submitted is paid for: another try may still fetch it
                raise
            trigger.log.warning("%s", error)
            await asyncio.sleep(5.0)


class SegmindRequestTrigger(BaseTrigger):
    """
    Wait for one Segmind request and fire one event, see :mod:`airflow_provider_segmind.protocol.events`.

    Carries ids and times, never a key or a picture. The deadline is absolute, so a restart of the triggerer
    neither extends nor forgets it.

    :param request_id: the request to wait for.
    :param segmind_conn_id: Airflow connection, or None for the environment's key.
    :param model: the request's model slug.
    :param deadline: when to give up (epoch seconds, UTC).
    :param submitted_at: when it was submitted (epoch seconds, UTC); default: now.
    :param poll_interval: seconds between looks; default: by what is known of the model.
    :param expected_duration: seconds that the model is said to take; default: what its page says, if anything.
    :param queue_timeout: seconds that it may be QUEUED, from the submit; default: as long as the deadline allows.
    :param not_before: fire no event before (epoch seconds, UTC): a task that is resumed before the scheduler has
        seen it defer is taken for killed (apache/airflow#71580).
    :param inline: the output was asked for inside the body (base64), which is not fetched here.
    :param input_size: width and height of the input in pixels, handed back in the event.
    :param end_from_trigger: end the task with success right here once the request is COMPLETED; everything else
        resumes the task.
    :param do_xcom_push: with ``end_from_trigger``, hand the result on as the task's XCom (default True).
    :param note: what the task wants to know again, handed back in the event.
    :param unknown: arguments of another version, see :func:`ignore`.
    """

    def __init__(
        self,
        request_id: str,
        segmind_conn_id: str | None,
        model: str,
        deadline: float,
        submitted_at: float | None = None,
        poll_interval: float | None = None,
        input_size: tuple[int, int] | list[int] | None = None,
        queue_timeout: float | None = None,
        not_before: float = 0.0,
        inline: bool = False,
        expected_duration: float | None = None,
        end_from_trigger: bool = False,
        do_xcom_push: bool = True,
        note: dict[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        ignore(self, unknown)
        self.request_id = request_id
        self.segmind_conn_id = segmind_conn_id
        self.model = model
        self.deadline = deadline
        self.submitted_at = time.time() if submitted_at is None else submitted_at
        self.poll_interval = poll_interval
        self.input_size = input_size
        self.queue_timeout = queue_timeout
        self.not_before = not_before
        self.inline = inline
        self.expected_duration = expected_duration
        self.end_from_trigger = end_from_trigger
        self.do_xcom_push = do_xcom_push
        self.note = note

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class's path and every argument of the constructor."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "request_id": self.request_id,
                "segmind_conn_id": self.segmind_conn_id,
                "model": self.model,
                "deadline": self.deadline,
                "submitted_at": self.submitted_at,
                "poll_interval": self.poll_interval,
                "queue_timeout": self.queue_timeout,
                "not_before": self.not_before,
                "inline": self.inline,
                "input_size": list(self.input_size) if self.input_size else None,
                "expected_duration": self.expected_duration,
                "end_from_trigger": self.end_from_trigger,
                "do_xcom_push": self.do_xcom_push,
                "note": self.note,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look at the request by the schedule until it is finished or the deadline has come."""
        ends_here, clock = self.end_from_trigger and in_triggerer(self), steady_clock()
        try:
            async with SegmindHook(self.segmind_conn_id) as hook:
                await connect(self, hook, self.deadline)
                event = await hook.awatch(self._watch(0.0 if ends_here or not in_triggerer(self) else self.not_before))
        except SegmindError as error:  # the connection itself is wrong
            event = event_for(error, request_id=self.request_id)
        if ends_here and isinstance(event, CompletedEvent) and await self._deliver(event.result):
            yield TaskSuccessEvent()
            return
        await settle(self, self.not_before, clock)
        size = tuple(self.input_size) if self.input_size else None
        event = event.model_copy(update={"input_size": size, "note": self.note})
        yield TriggerEvent(event.payload())  # type: ignore[no-untyped-call]

    async def _deliver(self, result: Result) -> bool:
        """
        Push the result as the task's XCom; False where that is not possible, so that a worker has to do it.

        As a worker pushes it: an XCom inside a TaskSuccessEvent reaches the tasks downstream as text (Airflow 3.3.2
        encodes it twice), and passes a custom XCom backend by.
        """
        if not self.do_xcom_push:
            telemetry.completed(result)
            return True
        if (ti := self.task_instance) is None:
            return False
        try:
            await aset_xcom(ti, _XCOM_RETURN_KEY, result.to_xcom())
        except Exception as error:  # noqa: BLE001  whatever it is: a worker can still push what is paid for
            self.log.warning("The result cannot be pushed from the triggerer, so a worker does it: %r", error)
            return False
        telemetry.completed(result)
        return True

    def _watch(self, not_before: float) -> Watch:
        return Watch(
            request_id=self.request_id,
            model=self.model,
            submitted_at=self.submitted_at,
            deadline=self.deadline,
            poll_interval=self.poll_interval,
            expected_duration=self.expected_duration,
            queue_timeout=self.queue_timeout,
            not_before=not_before,
            inline=self.inline,
            on_state=self._report,
        )

    def _report(self, state: RequestState) -> None:
        elapsed = time.time() - self.submitted_at
        self.log.info("Segmind request %s (%s) is %s after %.1f s", self.request_id, self.model, state, elapsed)

    async def on_kill(self) -> None:
        """Say what a user's mark or clear leaves behind: Segmind has no cancel call (Airflow 3.3 calls this)."""
        self.log.warning(
            "The task was taken off Segmind request %s (%s) by a user. Segmind has no cancel call: the request "
            "goes on, and if it completes it is billed at the model's usual price, see %s (a failed one is not). "
            "Its result can be fetched by its id for one hour from the submit.",
            self.request_id,
            self.model,
            model_page(self.model),
        )
