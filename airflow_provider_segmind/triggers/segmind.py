"""SegmindRequestTrigger: wait for one request in the triggerer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import field
from typing import Any

from airflow.triggers.base import TaskSuccessEvent, TriggerEvent

from airflow_provider_segmind import telemetry
from airflow_provider_segmind.compat import aset_xcom
from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.polling.clock import steady_clock
from airflow_provider_segmind.polling.drivers import await_request, log_start, with_progress_log
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.polling.shared_client import SharedClient
from airflow_provider_segmind.protocol.events import CompletedEvent, event_for
from airflow_provider_segmind.protocol.models import model_page
from airflow_provider_segmind.protocol.wire import Result
from airflow_provider_segmind.triggers.base import SegmindTrigger, serializable

#: The XCom key of what a task returned; importing the name from Airflow would load its models and SQLAlchemy.
_XCOM_RETURN_KEY = "return_value"


@serializable
class SegmindRequestTrigger(SegmindTrigger):
    """
    Wait for one Segmind request and fire one event, see :mod:`airflow_provider_segmind.protocol.events`.

    The trigger carries ids and times, never a key or an image. The deadline is absolute, so a restart of the triggerer
    does not change it. Arguments that this version does not know are ignored, with a warning.

    :param request_id: the request to wait for.
    :param segmind_conn_id: Airflow connection, or None for the environment's key.
    :param model: the request's model slug.
    :param deadline: when the wait times out (epoch seconds, UTC).
    :param submitted_at: when the request was submitted (epoch seconds, UTC; default: now).
    :param poll_interval: fixed seconds between polls (default: follow the estimated duration of the model).
    :param input_size: width and height of the input in pixels, returned in the event (default: unknown).
    :param queue_timeout: seconds that the request may be QUEUED after its submit (default: until the deadline).
    :param not_before: earliest time of an event (epoch seconds, UTC; default 0), see
        :meth:`.SegmindTrigger.wait_until_allowed`.
    :param inline: the output was requested inside the body (base64), so the trigger does not fetch it (default False).
    :param expected_duration: seconds that the model is expected to take (default: the time on its page, if any).
    :param end_from_trigger: end the task with success in the triggerer once the request has completed; every other
        end resumes the task (default False).
    :param do_xcom_push: with ``end_from_trigger``, push the result as the task's XCom (default True).
    :param request_info: what the resumed task needs to know of its request, returned in the event (default: nothing).
    """

    request_id: str
    segmind_conn_id: str | None
    model: str
    deadline: float
    submitted_at: float = field(default_factory=time.time)
    poll_interval: float | None = None
    input_size: Sequence[int] | None = None
    queue_timeout: float | None = None
    not_before: float = 0.0
    inline: bool = False
    expected_duration: float | None = None
    end_from_trigger: bool = False
    do_xcom_push: bool = True
    request_info: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.input_size = list(self.input_size) if self.input_size else None

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll by the schedule until the request has ended or the deadline has passed, and fire one event."""
        end_here, clock = self.end_from_trigger and self.in_triggerer, steady_clock()
        first_poll = 0.0 if end_here or not self.in_triggerer else self.not_before
        try:
            async with SharedClient(self.segmind_conn_id) as client:
                await self.connect(client, self.deadline)
                watch = self._watch(first_poll)
                log_start(watch, self.log.info, "in the triggerer")
                event = await await_request(client, with_progress_log(watch, self.log.info))
        except SegmindError as error:  # the connection is missing or invalid
            event = event_for(error, request_id=self.request_id)
        if end_here and isinstance(event, CompletedEvent) and await self._deliver(event.result):
            yield TaskSuccessEvent()
            return
        await self.wait_until_allowed(self.not_before, clock)
        size = tuple(self.input_size) if self.input_size else None
        event = event.model_copy(update={"input_size": size, "request_info": self.request_info})
        yield TriggerEvent(event.payload())  # type: ignore[no-untyped-call]

    async def _deliver(self, result: Result) -> bool:
        """
        Push the result as the task's XCom; return False if that is not possible, so that a worker does it.

        The XCom is pushed as a worker pushes it: an XCom inside a TaskSuccessEvent reaches downstream tasks as text
        (Airflow 3.3.2 encodes it twice), and bypasses a custom XCom backend.
        """
        if not self.do_xcom_push:
            telemetry.completed(result)
            return True
        if (ti := self.task_instance) is None:
            return False
        try:
            await aset_xcom(ti, _XCOM_RETURN_KEY, result.to_xcom())
        except Exception as error:  # noqa: BLE001  whatever the error is, a worker can still push the paid result
            self.log.warning(
                "The triggerer cannot push the result of Segmind request %s, so a worker does: %r",
                self.request_id,
                error,
            )
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
        )

    async def on_kill(self) -> None:
        """Log what happens to the request after a user marked or cleared the task (Airflow 3.3 calls this)."""
        self.log.warning(
            "A user ended the task while Segmind request %s (%s) was open. Segmind has no cancel call: the request "
            "continues. If it completes it is billed at the model's usual price, see %s; a failed one is not billed. "
            "Its result can be fetched by its request id for one hour after the submit.",
            self.request_id,
            self.model,
            model_page(self.model),
        )
