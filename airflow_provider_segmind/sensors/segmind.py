"""Sensors: for a request that another task, or another DAG, has submitted, and for a balance."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
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
from airflow_provider_segmind.execution.gateway import SegmindModel
from airflow_provider_segmind.execution.recover import recalled
from airflow_provider_segmind.links.pages import written_by_tasks
from airflow_provider_segmind.links.segmind import BEFORE_THE_OUTPUT, SegmindOutputLink
from airflow_provider_segmind.operators.common import check_numbers, is_final, not_before
from airflow_provider_segmind.operators.credits import balance_of
from airflow_provider_segmind.polling.loop import Refusals
from airflow_provider_segmind.protocol.credits import least_of, read_credits_event, too_low
from airflow_provider_segmind.protocol.events import CompletedEvent, error_from_dict, read_event
from airflow_provider_segmind.protocol.lifetimes import RECORD_LIVES
from airflow_provider_segmind.protocol.wire import REQUEST_ID, RequestState, Result
from airflow_provider_segmind.sensors.base import SegmindSensor

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

#: Seconds between two polls while Segmind refuses them: the first pause, and the longest.
_REFUSED_FIRST, _REFUSED_LONGEST = 1.0, 15.0


class SegmindRequestSensor(SegmindSensor):
    """
    Wait for one request, and return what the upscaling operators return (XCom), without ``stored``.

    The second half of a split pipeline: an operator with ``wait_for_completion=False`` hands on the request id, this
    waits for it in another task or another DAG, and ``SegmindToObjectStorageOperator`` stores the output. Nothing is
    submitted and nothing is billed here, however often it is tried. A request whose record is gone (one hour after
    its submit) is looked up in the request history, which knows its output for longer.

    The other arguments: :class:`.SegmindSensor`, and those of Airflow's sensors. FAILED and a blocked picture fail
    the sensor for good, with the operators' own errors. A refusal (400, 401, 403, …) is tolerated for the connection's
    ``poll_error_timeout`` (60 s), then it fails this try. An id that neither Segmind nor the history knows is, too, and
    then fails the sensor for good.

    :param request_id: the request to wait for. (templated)
    :param model: slug of its model, which stands in the result and says when to look; default: not known. (templated)
    :param expected_duration: with ``deferrable``: seconds that a request is expected to take, see the operators.
    :param poll_interval: with ``deferrable``: seconds between two looks (default: by what is known of the model).
    :param poke_interval: else: seconds between two looks (default 10).
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
        check_numbers(
            positive={"expected_duration": expected_duration}, not_negative={}, optional=("expected_duration",)
        )
        if is_final(request_id):
            self._check_request_id()

    def _check_request_id(self) -> None:
        if not isinstance(self.request_id, str) or not REQUEST_ID.fullmatch(self.request_id):
            raise SegmindConfigError(
                f"request_id={self.request_id!r:.100} is no Segmind request id: give what an operator with "
                "wait_for_completion=False returned"
            )

    def _check(self) -> dict[str, Any] | None:
        self._check_request_id()
        refusals, pause = Refusals(self.hook.settings.poll_error_timeout), _REFUSED_FIRST
        while True:
            try:
                return self._poll()
            except SegmindError as error:
                if error.retryable:
                    raise
                if not refusals.tolerates(error, time.monotonic()):
                    self._refusal = error
                    raise
                self.log.warning("%s", error)
            time.sleep(pause)
            pause = min(2 * pause, _REFUSED_LONGEST)

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
        return SegmindTimeoutError(f"it was waited for during {self.timeout:g} s", request_id=self.request_id)

    def _ended(self, error: SegmindError) -> None:
        telemetry.ended_badly(self.model, error, request_id=self.request_id)


class SegmindCreditsSensor(SegmindSensor):
    """
    Wait until the account's balance is high enough: for a top-up, before a pipeline spends it.

    Returns the balance in credits (XCom). Looking costs nothing. A refused key fails the sensor for good, a gateway in
    trouble is borne. To fail at once instead of waiting: ``operators.segmind.check_credits``.

    The other arguments: :class:`.SegmindSensor`, and those of Airflow's sensors.

    :param at_least: the balance to wait for, in credits, paid and free ones together. (templated)
    :param poll_interval: with ``deferrable``: seconds between two looks (default 60).
    :param poke_interval: else: seconds between two looks (default 60).
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
        self.log.info("The balance is %g credits, %g are waited for", self.seen, least)
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
