"""Sensors: for a request that another task, or another DAG, has submitted, and for a balance."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, BaseOperatorLink

from airflow_provider_segmind import telemetry
from airflow_provider_segmind.exceptions import (
    SegmindConfigError,
    SegmindError,
    SegmindInsufficientCreditsError,
    SegmindRequestExpiredError,
    SegmindTimeoutError,
)
from airflow_provider_segmind.execution.balance import balance_of
from airflow_provider_segmind.execution.gateway import SegmindModel
from airflow_provider_segmind.execution.options import WaitOptions, is_final
from airflow_provider_segmind.execution.recover import recalled
from airflow_provider_segmind.links.pages import written_by_tasks
from airflow_provider_segmind.links.segmind import BEFORE_THE_OUTPUT, SegmindOutputLink
from airflow_provider_segmind.polling.loop import Refusals
from airflow_provider_segmind.protocol.credits import least_of, read_credits_event, too_low
from airflow_provider_segmind.protocol.events import CompletedEvent, error_from_dict, read_event
from airflow_provider_segmind.protocol.lifetimes import RECORD_LIVES
from airflow_provider_segmind.protocol.wire import REQUEST_ID, RequestState, Result
from airflow_provider_segmind.runtime.deferral import not_before
from airflow_provider_segmind.sensors.base import SegmindSensor

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

#: Seconds between two polls while Segmind refuses them: the first pause, and the longest.
_REFUSED_FIRST, _REFUSED_LONGEST = 1.0, 15.0


class SegmindRequestSensor(SegmindSensor):
    """
    Wait for one request, and return what the upscaling operators return (XCom), without ``stored``.

    The second half of a split pipeline: an operator with ``wait_for_completion=False`` returns the request id, this
    sensor waits for it in another task or another DAG, and ``SegmindToObjectStorageOperator`` stores the output. It
    submits nothing and bills nothing, however often it is tried. A request whose record has expired (one hour after its
    submit) is searched in the request history, which lists its output for longer.

    FAILED and a blocked image fail the sensor permanently, with the operators' own errors. A refusal (400, 401, 403, …)
    is tolerated for the connection's ``poll_error_timeout`` (60 s), then it fails this try. An id that neither Segmind
    nor the history knows is tolerated as long, and then fails the sensor permanently. Further arguments:
    :class:`.SegmindSensor`, and those of Airflow's sensors.

    :param request_id: the request to wait for. (templated)
    :param model: slug of its model, which the result states and the poll schedule goes by; default: not known.
        (templated)
    :param expected_duration: with ``deferrable``: seconds that a request is expected to take, see
        :class:`.WaitOptions`.
    :param poll_interval: with ``deferrable``: seconds between two polls (default: by what is known of the model).
    :param poke_interval: else: seconds between two checks (default 10).
    :param timeout: seconds for the whole wait (default 3600: Segmind keeps no record for longer).
    """

    template_fields: Sequence[str] = ("request_id", "model", "segmind_conn_id")
    operator_extra_links: Collection[BaseOperatorLink] = (*BEFORE_THE_OUTPUT, SegmindOutputLink())

    def __init__(
        self,
        *,
        request_id: str,
        model: str = "",
        expected_duration: float | None = None,
        poke_interval: timedelta | float = 10.0,
        timeout: timedelta | float = RECORD_LIVES,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, timeout=timeout, **kwargs)
        self.request_id = request_id
        self.model = model
        self.expected_duration = expected_duration
        self.output_link: str | None = None
        self._refusal: SegmindError | None = None
        self.operator_extra_links = written_by_tasks(self)
        WaitOptions.of(self)
        if is_final(request_id):
            self._check_request_id()

    def _check_request_id(self) -> None:
        if not isinstance(self.request_id, str) or not REQUEST_ID.fullmatch(self.request_id):
            raise SegmindConfigError(
                f"request_id={self.request_id!r:.100} is not a Segmind request id: give what an operator with "
                "wait_for_completion=False returned"
            )

    def _check(self) -> dict[str, Any] | None:
        self._check_request_id()
        refusals = Refusals(self.hook.settings.poll_error_timeout)
        for pause in _pauses():
            try:
                return self._poll()
            except SegmindError as error:
                self._tolerate(error, refusals)
            time.sleep(pause)
        return None

    def _tolerate(self, error: SegmindError, refusals: Refusals) -> None:
        """Log a refusal that may pass; raise every other error."""
        if error.retryable:
            raise error
        if not refusals.tolerates(error, time.monotonic()):
            self._refusal = error
            raise error
        self.log.warning("%s", error)

    def _poll(self) -> dict[str, Any] | None:
        try:
            seen = self.hook.get_status(self.request_id)
        except SegmindRequestExpiredError as error:
            return self._deliver(self._recalled(error))
        self.log.info("Segmind request %s is %s", self.request_id, seen.state)
        if seen.state is RequestState.FAILED:
            raise seen.failure()
        return self._deliver(self._result()) if seen.state is RequestState.COMPLETED else None

    def _result(self) -> Result:
        return self.hook.get_result(self.request_id, model=self.model)

    def _tolerates(self, error: SegmindError) -> bool:
        return super()._tolerates(error) and error is not self._refusal

    def _recalled(self, error: SegmindRequestExpiredError) -> Result:
        return recalled(SegmindModel(self.hook, self.model), error, model=self.model)

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
                return self._deliver(seen.result)
            return self._deliver(self._result())
        except SegmindRequestExpiredError as error:
            return self._deliver(self._recalled(error))

    def _deliver(self, result: Result) -> dict[str, Any]:
        telemetry.completed(result)
        self.output_link = result.output
        return result.to_xcom()

    def _timed_out(self) -> SegmindTimeoutError:
        return SegmindTimeoutError(f"the sensor waited for {self.timeout:g} s", request_id=self.request_id)

    def _ended(self, error: SegmindError) -> None:
        telemetry.ended_badly(self.model, error, request_id=self.request_id)


def _pauses() -> Iterator[float]:
    """Yield seconds between two polls that are refused."""
    pause = _REFUSED_FIRST
    while True:
        yield pause
        pause = min(2 * pause, _REFUSED_LONGEST)


class SegmindCreditsSensor(SegmindSensor):
    """
    Wait until the account's balance is high enough: for a top-up, before a pipeline spends it.

    Returns the balance in credits (XCom). Reading it costs nothing. A refused key fails the sensor permanently, an
    unavailable gateway is tolerated. To fail at once instead of waiting: ``operators.segmind.check_credits``. Further
    arguments: :class:`.SegmindSensor`, and those of Airflow's sensors.

    :param at_least: the balance to wait for, in credits, paid and free ones together. (templated)
    :param poll_interval: with ``deferrable``: seconds between two polls (default 60).
    :param poke_interval: else: seconds between two checks (default 60).
    :param timeout: seconds for the whole wait (default: Airflow's ``[sensors] default_timeout``, a week).
    """

    template_fields: Sequence[str] = ("at_least", "segmind_conn_id")

    def __init__(self, *, at_least: float | str, poll_interval: float = 60.0, **kwargs: Any) -> None:
        super().__init__(poll_interval=poll_interval, **kwargs)
        self.at_least = at_least
        self.seen: float | None = None
        if is_final(at_least):
            least_of(at_least)

    def _check(self) -> float | None:
        least = least_of(self.at_least)
        self.seen = balance_of(self.hook)
        self.log.info("The balance is %g credits, %g are needed", self.seen, least)
        return self.seen if self.seen >= least else None

    def _trigger(self, deadline: float) -> BaseTrigger:
        from airflow_provider_segmind.triggers.credits import SegmindCreditsTrigger

        return SegmindCreditsTrigger(
            segmind_conn_id=self.segmind_conn_id,
            at_least=least_of(self.at_least),
            deadline=deadline,
            poll_interval=self.poll_interval or 60.0,
            not_before=not_before(),
        )

    def _finish(self, event: Any) -> float:
        seen = read_credits_event(event)
        self.seen = seen.balance
        if seen.error is not None:
            raise error_from_dict(seen.error)
        if seen.balance is None or seen.balance < least_of(self.at_least):
            raise AirflowSensorTimeout(str(self._timed_out()))
        return seen.balance

    def _timed_out(self) -> SegmindInsufficientCreditsError:
        return too_low(self.seen, least_of(self.at_least), waited=self.timeout)
