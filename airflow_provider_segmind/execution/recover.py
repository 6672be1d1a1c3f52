"""Recover an expired request: by its record at Segmind (kept for one hour), else by the request history."""

from __future__ import annotations

import logging
from collections.abc import Callable

from airflow_provider_segmind.exceptions import SegmindRequestExpiredError
from airflow_provider_segmind.execution.ports import Clock, Records, Segmind
from airflow_provider_segmind.execution.record import RequestRecord, State
from airflow_provider_segmind.execution.want import Rules, Want
from airflow_provider_segmind.protocol.history import result_of_row
from airflow_provider_segmind.protocol.lifetimes import RECORD_SURE
from airflow_provider_segmind.protocol.wire import RequestState, RequestStatus, Result

log = logging.getLogger(__name__)

#: Seconds from the submit after which a request without a record counts as lost, if the history reports it as pending.
PENDING_FOR = 24 * 3600.0
_RESUBMIT = (
    "Segmind keeps a record for one hour, and the history does not have the output. To submit and pay again, "
    'clear the task with on_lost_submit="resubmit".'
)
_TRY_LATER = "Another try asks again; the request is billed if it completes."


class Recovery:
    """
    Find the results of submitted requests.

    :param segmind: port to the model at Segmind.
    :param records: port to the request records.
    :param clock: port to the time.
    :param rules: what the author of the DAG decides.
    :param completed: called once for each want when its result becomes known.
    """

    def __init__(
        self,
        segmind: Segmind,
        records: Records,
        clock: Clock,
        rules: Rules,
        completed: Callable[[Want, Result], None],
    ) -> None:
        self._segmind, self._records, self._clock, self._rules = segmind, records, clock, rules
        self._completed = completed

    def recover(self, want: Want) -> None:
        """
        Update the record of a request that may have expired: by its record at Segmind, or by the history.

        Afterwards it is SUBMITTED (known, and not finished), COMPLETED, or WAITING again if it FAILED, which is free.

        :param want: of a submitted request.
        :raises SegmindError: the request is unknown, for now or for good.
        """
        record, request_id = want.record, want.record.request_id or ""
        try:
            status = self._segmind.status(request_id)
        except SegmindRequestExpiredError as error:
            self._from_history(want, error)
        else:
            if status.state is RequestState.FAILED:
                self._failed(want, status)
            elif status.state is RequestState.COMPLETED:
                self.fetch(want)
        if want.record.state is not State.SUBMITTED:
            self._records.put([record])

    def _from_history(self, want: Want, expired: SegmindRequestExpiredError) -> None:
        found = recall_result(self._segmind, expired, model=self._rules.model)
        if isinstance(found, Result):
            self.has_result(want, found)
        elif found is None:
            self._expired(want, "the request history does not have its output either")
        elif found.state is RequestState.FAILED:
            self._failed(want, found)
        elif self.age(want.record) < PENDING_FOR:
            raise still_pending(expired, f"{_TRY_LATER} One day after its submit, on_lost_submit decides.")
        else:
            self._expired(want, "the request history reports it as pending, more than a day after its submit")

    def _expired(self, want: Want, why: str) -> None:
        """Give up a request that is known nowhere if ``on_lost_submit`` allows it, else raise."""
        young = self.age(want.record) < RECORD_SURE
        if young or self._rules.on_lost_submit == "fail":
            raise SegmindRequestExpiredError(
                why,
                request_id=want.record.request_id,
                next_step="Another try asks again before anything is submitted." if young else _RESUBMIT,
                retryable=young,
            )
        log.warning(
            "Request %s has expired. Submitting again because of on_lost_submit='resubmit'", want.record.request_id
        )
        want.record.withdraw()

    def _failed(self, want: Want, status: RequestStatus) -> None:
        log.warning("%s Submitting again: a failed request is not billed", status.failure())
        want.record.free()

    def has_result(self, want: Want, result: Result) -> None:
        """Put the result into the want and its record."""
        if want.record.result is None:
            self._completed(want, result)
        want.result = result
        want.record.completed(result)

    def age(self, record: RequestRecord) -> float:
        """Return the seconds since its submit."""
        return self._clock.now() - (record.submitted_at or record.intended_at or self._clock.now())

    def fetch(self, want: Want) -> None:
        """Fetch the result of a request that is COMPLETED."""
        try:
            self.has_result(want, self._segmind.result(want.record.request_id or ""))
        except SegmindRequestExpiredError as error:
            self._from_history(want, error)

    def output(self, want: Want) -> None:
        """Get the result again if its output was refused before, or is inline and in no record."""
        record = want.record
        want.result = known = want.result or Result.model_validate(record.result)
        if record.refused_at is None and (known.fetchable or known.inline):
            return
        try:
            want.result = self._segmind.result(record.request_id or "")
        except SegmindRequestExpiredError as expired:
            found = recall_result(self._segmind, expired, model=self._rules.model)
            if isinstance(found, Result):
                want.result = found
            elif not known.fetchable:
                self._expired(want, "its output was in its record, which Segmind keeps for one hour")


def recall_result(
    segmind: Segmind, expired: SegmindRequestExpiredError, *, model: str
) -> Result | RequestStatus | None:
    """
    Ask the history about a request whose record has expired.

    :param segmind: port to the model at Segmind.
    :param expired: the error that names the request.
    :param model: slug of the request's model, for the result.
    :return: the result, or the status of a request that FAILED or is not finished; None if the history does not have
        the request or its output.
    :raises SegmindError: the history did not respond; the request may exist.
    """
    request_id = expired.request_id or ""
    row = segmind.history_row(request_id)
    if row is None:
        return None
    status = (row.status or "").upper()
    if status == RequestState.FAILED:
        return RequestStatus(request_id=request_id, state=RequestState.FAILED, error=row.error or "")
    if (found := result_of_row(row, model=model)) is not None:
        log.info("The record of request %s has expired, but the request history has its output", request_id)
        return found
    if status != RequestState.COMPLETED:
        return RequestStatus(request_id=request_id, state=RequestState.PROCESSING)
    return None


def recalled(segmind: Segmind, expired: SegmindRequestExpiredError, *, model: str) -> Result:
    """
    Return the result of an expired request for a task that has not submitted it: sensor and transfer.

    :param segmind: port to the model at Segmind.
    :param expired: the error that names the request.
    :param model: slug of the request's model, for the result.
    :raises SegmindRequestFailedError: the history reports that it FAILED.
    :raises SegmindRequestExpiredError: the history does not have its output, or (retryable) reports it as pending.
    :raises SegmindError: the history did not respond.
    """
    found = recall_result(segmind, expired, model=model)
    if isinstance(found, Result):
        return found
    if found is not None and found.state is RequestState.FAILED:
        raise found.failure()
    if found is not None:
        raise still_pending(expired)
    raise SegmindRequestExpiredError(
        "the request history does not have its output either",
        request_id=expired.request_id,
        next_step="Check the request id. Segmind keeps a record for one hour; a new submit is billed again.",
    ) from expired


def still_pending(expired: SegmindRequestExpiredError, next_step: str = _TRY_LATER) -> SegmindRequestExpiredError:
    """Return the error for an expired request that the history reports as pending."""
    return SegmindRequestExpiredError(
        "the request history reports that it is not finished",
        request_id=expired.request_id,
        next_step=next_step,
        retryable=True,
    )
