"""The wait of an operator: in this process, or in the triggerer."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, NoReturn

from airflow_provider_segmind.links.segmind import BEFORE_THE_OUTPUT
from airflow_provider_segmind.operators.arguments import ModelArguments
from airflow_provider_segmind.operators.common import deferral_timeout, not_before
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.protocol.events import Event, TimeoutEvent

#: Seconds by which our own deadline comes before a shorter ``execution_timeout``, so that ours is the one reported.
_EXECUTION_MARGIN = 5.0


class WaitsForRequest(ModelArguments):
    """Waits for one request."""

    def _deadline(self, started_at: float) -> float:
        """Return when to give up (epoch seconds): our own time-out, before Airflow's for the whole task."""
        timeout = self.timeout
        if self.execution_timeout is not None:
            limit = self.execution_timeout.total_seconds()
            timeout = min(timeout, max(0.5 * limit, limit - _EXECUTION_MARGIN))
        return started_at + timeout

    def _wait_here(self, watch: Watch, started_at: float) -> Event | None:
        """Wait in this process and return the event that ends the wait; None where the triggerer is to wait on."""
        from airflow_provider_segmind.polling.drivers import wait_for_request, with_learned_durations

        if not self.deferrable:
            return wait_for_request(self.hook, watch)
        deadline = min(watch.deadline, started_at + self.defer_after)
        now = time.time()
        if now + with_learned_durations(watch, self.segmind_conn_id).first_poll(now) > deadline:
            return None  # nothing to see so early: a look would be a poll for nothing
        event = wait_for_request(self.hook, replace(watch, deadline=deadline))
        return None if isinstance(event, TimeoutEvent) and deadline < watch.deadline else event

    def _defer(self, watch: Watch, input_size: tuple[int, int] | None, request_info: dict[str, Any] | None) -> NoReturn:
        from airflow_provider_segmind.triggers.segmind import SegmindRequestTrigger

        self._links_without_an_output()
        self.defer(
            trigger=SegmindRequestTrigger(
                request_id=watch.request_id,
                segmind_conn_id=self.segmind_conn_id,
                model=watch.model,
                deadline=watch.deadline,
                submitted_at=watch.submitted_at,
                poll_interval=watch.poll_interval,
                expected_duration=watch.expected_duration,
                queue_timeout=watch.queue_timeout,
                inline=watch.inline,
                input_size=input_size,
                not_before=not_before(),
                end_from_trigger=self.end_from_trigger,
                do_xcom_push=self.do_xcom_push,
                request_info=request_info,
            ),
            method_name="execute_complete",
            kwargs={"request_id": watch.request_id},
            timeout=deferral_timeout(watch.deadline),
        )

    # --- links: Airflow writes each of an operator's in a call of its own whenever a process of the task ends -----

    def _links_without_an_output(self) -> None:
        self.operator_extra_links = [link for link in self.operator_extra_links if link in BEFORE_THE_OUTPUT]

    def _links_of_the_output(self) -> None:
        """Leave out what the deferral has written: it stays until the next try."""
        self.operator_extra_links = [link for link in self.operator_extra_links if link not in BEFORE_THE_OUTPUT]
