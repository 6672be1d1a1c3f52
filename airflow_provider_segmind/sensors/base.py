"""What the sensors share: how they check and wait, and what an error means to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, BaseSensorOperator, PokeReturnValue

from airflow_provider_segmind.exceptions import SegmindError, SegmindTimeoutError
from airflow_provider_segmind.execution.options import WaitOptions
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.runtime.deferral import deferral_timeout, not_before
from airflow_provider_segmind.runtime.failures import permanent_errors_fail
from airflow_provider_segmind.runtime.settings import DEFERRABLE

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger


class SegmindSensor(BaseSensorOperator):
    """
    Base of the sensors: they check once, and wait by their mode.

    A permanent error fails the sensor permanently, a timeout too; with ``soft_fail`` both skip it. An error that may
    pass (an unavailable gateway, a rate limit) is tolerated until the timeout.

    :param segmind_conn_id: Airflow connection (default ``segmind_default``); None for the key in ``SEGMIND_API_KEY``.
        (templated)
    :param deferrable: check once, then wait in the triggerer (default: ``[operators] default_deferrable``); else
        ``mode`` decides: ``poke`` (default) waits in the worker, ``reschedule`` frees the worker between two checks.
    :param poll_interval: with ``deferrable``: seconds between two polls.
    :param poke_interval: else: seconds between two checks. With ``reschedule`` at least a little more than Airflow's
        ``[workers] min_heartbeat_interval`` (apache/airflow#71580).
    :param timeout: seconds for the whole wait, reschedules included.
    """

    ui_color = "#eee7ff"

    def __init__(
        self,
        *,
        segmind_conn_id: str | None = SegmindHook.default_conn_name,
        deferrable: bool = DEFERRABLE,
        poll_interval: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.segmind_conn_id = segmind_conn_id
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        WaitOptions.of(self)

    @cached_property
    def hook(self) -> SegmindHook:
        """The hook of this task's connection."""
        return SegmindHook(self.segmind_conn_id)

    def execute(self, context: Context) -> Any:
        """Check, and wait: in the triggerer if ``deferrable``, else by ``mode``."""
        with closing(self.hook):
            try:
                return super().execute(context)
            except AirflowSensorTimeout as error:
                late = self._timed_out()
                self._ended(late)
                raise AirflowSensorTimeout(str(late)) from error

    def poke(self, context: Context) -> PokeReturnValue:
        """Check once; defer if there is no result yet and the sensor is deferrable."""
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
        # Airflow takes a task that starts again too soon for killed, rescheduled or resumed.
        return max(seconds, not_before() - time.time()) if self.reschedule else seconds

    def _tolerates(self, error: SegmindError) -> bool:
        """Return whether the wait goes on after this error."""
        return error.retryable

    def _check(self) -> Any:
        """Return what the sensor returns, or None if there is no result yet."""
        raise NotImplementedError

    def _trigger(self, deadline: float) -> BaseTrigger:
        """Return the trigger that waits until this moment (epoch seconds)."""
        raise NotImplementedError

    def _finish(self, event: Any) -> Any:
        """Return what the trigger's event reports."""
        raise NotImplementedError

    def _timed_out(self) -> SegmindError:
        """Return the error for a wait that ended at its timeout."""
        raise NotImplementedError

    def _ended(self, error: SegmindError) -> None:
        """Report what ended the wait, where metrics count it."""


@contextmanager
def _permanent_errors_fail() -> Iterator[None]:
    """Turn permanent errors, and a timeout, into Airflow's exceptions: ``soft_fail`` knows only those."""
    try:
        with permanent_errors_fail():
            yield
    except SegmindTimeoutError as error:
        raise AirflowSensorTimeout(str(error)) from error
