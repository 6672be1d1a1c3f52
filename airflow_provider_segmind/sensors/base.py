"""What the sensors share: how they look and wait, and what an error means to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, BaseSensorOperator, PokeReturnValue, conf

from airflow_provider_segmind.exceptions import SegmindError, SegmindTimeoutError
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.operators.common import check_numbers, deferral_timeout, not_before, permanent_errors_fail

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger


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
        check_numbers(
            positive={"poll_interval": poll_interval, "timeout": self.timeout},
            not_negative={},
            optional=("poll_interval",),
        )

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
                late = self._timed_out()
                self._ended(late)
                raise AirflowSensorTimeout(str(late)) from error

    def poke(self, context: Context) -> PokeReturnValue:
        """Look once; where there is nothing yet and the sensor is deferrable, defer."""
        found = None
        with _permanent_errors_fail():
            try:
                found = self._check()
            except SegmindError as error:
                if not self._tolerates(error):
                    self._ended(error)
                    raise
                self.log.warning("%s", error)
        if found is None and self.deferrable:
            deadline = time.time() + self.timeout
            self.defer(
                trigger=self._trigger(deadline),
                method_name="execute_complete",
                timeout=deferral_timeout(deadline),
            )
        return PokeReturnValue(found is not None, found)

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Take over from the trigger."""
        with closing(self.hook), _permanent_errors_fail():
            try:
                return self._finish(event)
            except SegmindError as error:
                self._ended(error)
                raise

    def _get_next_poke_interval(
        self, started_at: datetime | float, run_duration: Callable[[], float], poke_count: int
    ) -> float:
        seconds = float(super()._get_next_poke_interval(started_at, run_duration, poke_count))
        # A task that comes back too soon is taken for killed, rescheduled or resumed.
        return max(seconds, not_before() - time.time()) if self.reschedule else seconds

    def _tolerates(self, error: SegmindError) -> bool:
        """Return whether the wait goes on after this error."""
        return error.retryable

    def _check(self) -> Any:
        """Look once: what the sensor returns, or None where there is nothing yet."""
        raise NotImplementedError

    def _trigger(self, deadline: float) -> BaseTrigger:
        raise NotImplementedError

    def _finish(self, event: Any) -> Any:
        """Return what the trigger's event tells."""
        raise NotImplementedError

    def _timed_out(self) -> SegmindError:
        raise NotImplementedError

    def _ended(self, error: SegmindError) -> None:
        """Tell what ended the wait, where that is of use to more than the log."""


@contextmanager
def _permanent_errors_fail() -> Iterator[None]:
    """Say what cannot pass, and a time-out, in Airflow's words: those are what ``soft_fail`` knows."""
    try:
        with permanent_errors_fail():
            yield
    except SegmindTimeoutError as error:
        raise AirflowSensorTimeout(str(error)) from error
