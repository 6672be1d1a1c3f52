"""SegmindRequestSensor: wait for a request that another task, or another DAG, has submitted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, BaseSensorOperator, PokeReturnValue, conf

from airflow_provider_segmind.exceptions import (
    SegmindConfigError,
    SegmindError,
    SegmindRequestExpiredError,
    SegmindTimeoutError,
)
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.ledger import recall
from airflow_provider_segmind.links.segmind import SegmindModelLink, SegmindOutputLink
from airflow_provider_segmind.operators.common import check_numbers, is_final, not_before, permanent_errors_fail
from airflow_provider_segmind.protocol.events import CompletedEvent, read_event
from airflow_provider_segmind.protocol.wire import REQUEST_ID, RequestState, Result

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger

#: Seconds between our own deadline and Airflow's deferral time-out, so that ours is the one that is told.
_DEFERRAL_MARGIN = 60.0
#: Seconds between looks at an id that nobody knows: a fresh one may not be known everywhere yet.
_UNKNOWN = (0.0, 2.0, 5.0, 10.0)
_HOUR = 3600.0


class SegmindSensor(BaseSensorOperator):
    """
    What the sensors share: how they look and wait, and what an error means to them, in every mode.

    A permanent error fails the sensor for good, a time-out too; with ``soft_fail`` both skip it. What may pass (a
    gateway in trouble, a rate limit) is borne until the time-out.

    :param segmind_conn_id: Airflow connection; None for the key in ``SEGMIND_API_KEY``. (templated)
    :param deferrable: look once, then wait in the triggerer (default: ``[operators] default_deferrable``); else
        ``mode`` says how to wait: ``poke`` (default) in the worker, ``reschedule`` with a free worker between looks.
    :param poll_interval: with ``deferrable``: seconds between two looks.
    :param poke_interval: else: seconds between two looks. With ``reschedule`` at least a little more than Airflow's
        ``[workers] min_heartbeat_interval`` (apache/airflow#71580).
    :param timeout: seconds for the whole wait, reschedules included.
    """

    ui_color = "#eee7ff"

    def __init__(
        self,
        *,
        segmind_conn_id: str | None = SegmindHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segmind_conn_id = segmind_conn_id
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        check_numbers(positive={"poll_interval": poll_interval, "timeout": self.timeout}, not_negative={})

    @cached_property
    def hook(self) -> SegmindHook:
        """The hook of this task's connection."""
        return SegmindHook(self.segmind_conn_id)

    def execute(self, context: Context) -> Any:
        """Look, and wait: in the triggerer if ``deferrable``, else by ``mode``."""
        with closing(self.hook):
            try:
                return super().execute(context)
            except AirflowSensorTimeout as error:
                raise AirflowSensorTimeout(str(self._timed_out())) from error

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once; where there is nothing yet and the sensor is deferrable, defer."""
        found = None
        with _permanent_errors_fail():
            try:
                found = self._look()
            except SegmindError as error:
                if not error.retryable:
                    raise
                self.log.warning("%s", error)
        if found is None and self.deferrable:
            deadline = time.time() + self.timeout
            self.defer(
                trigger=self._trigger(deadline),
                method_name="execute_complete",
                timeout=timedelta(seconds=self.timeout + _DEFERRAL_MARGIN),
            )
        return PokeReturnValue(found is not None, found)

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Take over from the trigger."""
        with closing(self.hook), _permanent_errors_fail():
            return self._finish(event)

    def _get_next_poke_interval(
        self, started_at: datetime | float, run_duration: Callable[[], float], poke_count: int
    ) -> float:
        seconds = float(super()._get_next_poke_interval(started_at, run_duration, poke_count))
        # A task that comes back too soon is taken for killed, rescheduled or resumed.
        return max(seconds, not_before() - time.time()) if self.reschedule else seconds

    def _look(self) -> Any:
        """Look once: what the sensor returns, or None where there is nothing yet."""
        raise NotImplementedError

    def _trigger(self, deadline: float) -> BaseTrigger:
        raise NotImplementedError

    def _finish(self, event: Any) -> Any:
        """Return what the trigger's event tells."""
        raise NotImplementedError

    def _timed_out(self) -> SegmindError:
        raise NotImplementedError


@contextmanager
def _permanent_errors_fail() -> Iterator[None]:
    """Say what cannot pass, and a time-out, in Airflow's words: those are what ``soft_fail`` knows."""
    try:
        with permanent_errors_fail():
            yield
    except SegmindTimeoutError as error:
        raise AirflowSensorTimeout(str(error)) from error


class SegmindRequestSensor(SegmindSensor):
    """
    Wait for one request, and return what the upscaling operators return (XCom), without ``stored``.

    The second half of a split pipeline: an operator with ``wait_for_completion=False`` hands on the request id, this
    waits for it in another task or another DAG, and ``SegmindToObjectStorageOperator`` stores the output. Nothing is
    submitted and nothing is billed here, however often it is tried. A request whose record is gone (one hour after
    its submit) is looked up in the request history, which knows its output for longer.

    The other arguments: :class:`SegmindSensor`, and those of Airflow's sensors. FAILED and a blocked picture fail
    the sensor for good, with the operators' own errors.

    :param request_id: the request to wait for. (templated)
    :param model: slug of its model, which stands in the result and says when to look; default: not known. (templated)
    :param expected_duration: with ``deferrable``: seconds that a request is expected to take, see the operators.
    :param poll_interval: with ``deferrable``: seconds between two looks (default: by what is known of the model).
    :param poke_interval: else: seconds between two looks (default 10).
    :param timeout: seconds for the whole wait (default 3600: Segmind keeps no record for longer).
    """

    template_fields: Sequence[str] = ("request_id", "model", "segmind_conn_id")
    operator_extra_links = (SegmindModelLink(), SegmindOutputLink())

    def __init__(
        self,
        *,
        request_id: str,
        model: str = "",
        expected_duration: float | None = None,
        poke_interval: timedelta | float = 10.0,
        timeout: timedelta | float = _HOUR,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, timeout=timeout, **kwargs)
        self.request_id = request_id
        self.model = model
        self.expected_duration = expected_duration
        self.output_link: str | None = None
        check_numbers(positive={"expected_duration": expected_duration}, not_negative={})
        if is_final(request_id):
            self._check_request_id()

    def _check_request_id(self) -> None:
        if not isinstance(self.request_id, str) or not REQUEST_ID.fullmatch(self.request_id):
            raise SegmindConfigError(
                f"request_id={self.request_id!r:.100} is no Segmind request id: give what an operator with "
                "wait_for_completion=False returned"
            )

    def _look(self) -> dict[str, Any] | None:
        self._check_request_id()
        for pause in _UNKNOWN:
            time.sleep(pause)
            try:
                seen = self.hook.get_status(self.request_id)
                break
            except SegmindRequestExpiredError as error:
                gone = error
                self.log.info("%s", error)
                try:
                    found = recall(self.hook, error, model=self.model)
                except SegmindRequestExpiredError as unknown:
                    gone = unknown
                    continue
                return self._hand_over(found) if found else None
        else:
            raise gone
        self.log.info("Segmind request %s is %s", self.request_id, seen.state)
        if seen.state is RequestState.FAILED:
            raise seen.failure()
        if seen.state is not RequestState.COMPLETED:
            return None
        return self._hand_over(self.hook.get_result(self.request_id, model=self.model))

    def _trigger(self, deadline: float) -> BaseTrigger:
        from airflow_provider_segmind.triggers.segmind import SegmindRequestTrigger

        return SegmindRequestTrigger(
            request_id=self.request_id,
            segmind_conn_id=self.segmind_conn_id,
            model=self.model,
            deadline=deadline,
            poll_interval=self.poll_interval,
            expected_duration=self.expected_duration,
            not_before=not_before(),
        )

    def _finish(self, event: Any) -> dict[str, Any]:
        try:
            seen = read_event(event, request_id=self.request_id)
            if isinstance(seen, CompletedEvent):
                return self._hand_over(seen.result)
            return self._hand_over(self.hook.get_result(self.request_id, model=self.model))
        except SegmindRequestExpiredError as error:
            found = recall(self.hook, error, model=self.model)
            if found is None:
                error.retryable = True  # the history says that it is still on its way
                raise
            return self._hand_over(found)

    def _hand_over(self, result: Result) -> dict[str, Any]:
        self.log.info("%s", result.bill())
        self.output_link = result.output
        return result.to_xcom()

    def _timed_out(self) -> SegmindTimeoutError:
        return SegmindTimeoutError(f"it was waited for during {self.timeout:g} s", request_id=self.request_id)
