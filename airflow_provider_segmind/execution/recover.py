"""Recover a request that Segmind may have forgotten: by its record (one hour), else by the request history."""

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

#: Seconds from the submit after which a request that the history calls pending, and that has no record, counts as lost.
PENDING_FOR = 24 * 3600.0
_FORGOTTEN = (
    "Segmind keeps a record for an hour, and the history does not have its output. To submit again, and pay again, "
    'clear the task with on_lost_submit="resubmit".'
)
_ASKED_AGAIN = "Another try asks again; the request is paid for if it completes."


class Recovery:
    """
    Find out what became of submitted requests.

    :param completed: called once for each want whose result becomes known.
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
        Find out what became of a request that Segmind may have forgotten: by its record, or by the history.

        Afterwards it is SUBMITTED (known, and not finished), COMPLETED, or open again where it FAILED, which was free.

        :raises SegmindError: nobody knows now, or nobody knows any more.
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

    def _from_history(self, want: Want, gone: SegmindRequestExpiredError) -> None:
        found = recall_result(self._segmind, gone, model=self._rules.model)
        if isinstance(found, Result):
            self.has_result(want, found)
        elif found is None:
            self._forgotten(want, "the request history does not know its output either")
        elif found.state is RequestState.FAILED:
            self._failed(want, found)
        elif self.age(want.record) < PENDING_FOR:
            raise still_on_its_way(gone, f"{_ASKED_AGAIN} A day after its submit on_lost_submit decides.")
        else:
            self._forgotten(want, "the request history calls it pending, more than a day after its submit")

    def _forgotten(self, want: Want, why: str) -> None:
        """Give up a request that nobody knows any more, if the author of the DAG says so."""
        young = self.age(want.record) < RECORD_SURE
        if young or self._rules.on_lost_submit == "fail":
            raise SegmindRequestExpiredError(
                why,
                request_id=want.record.request_id,
                next_step="Another try asks again before anything is submitted." if young else _FORGOTTEN,
                retryable=young,
            )
        log.warning("Request %s is forgotten. Submitting again: on_lost_submit='resubmit'", want.record.request_id)
        want.record.withdraw()

    def _failed(self, want: Want, status: RequestStatus) -> None:
        log.warning("%s It is submitted again", status.failure())
        want.record.free()

    def has_result(self, want: Want, result: Result) -> None:
        """Note the result of a want."""
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
        """Complete the result by its output: asked for again where it was refused before, or is in no record."""
        record = want.record
        want.result = known = want.result or Result.model_validate(record.result)
        if record.refused_at is None and (known.fetchable or known.inline):
            return
        try:
            want.result = self._segmind.result(record.request_id or "")
        except SegmindRequestExpiredError as gone:
            found = recall_result(self._segmind, gone, model=self._rules.model)
            if isinstance(found, Result):
                want.result = found
            elif not known.fetchable:
                self._forgotten(want, "its output was in its record, which Segmind keeps for an hour")


def recall_result(segmind: Segmind, gone: SegmindRequestExpiredError, *, model: str) -> Result | RequestStatus | None:
    """
    Ask the history about a request whose record is gone.

    :param gone: says that the record is gone, and names the request.
    :param model: slug of the request's model, for the result.
    :return: the result, or the status of a request that FAILED or is not finished; None where the history does not know
        the request, or not its output.
    :raises SegmindError: it did not answer, which is not "does not know".
    """
    request_id = gone.request_id or ""
    row = segmind.history_row(request_id)
    if row is None:
        return None
    status = (row.status or "").upper()
    if status == RequestState.FAILED:
        return RequestStatus(request_id=request_id, state=RequestState.FAILED, error=row.error or "")
    if (found := result_of_row(row, model=model)) is not None:
        log.info("Segmind forgot request %s, but its history knows the output", request_id)
        return found
    if status != RequestState.COMPLETED:
        return RequestStatus(request_id=request_id, state=RequestState.PROCESSING)
    return None


def recalled(segmind: Segmind, gone: SegmindRequestExpiredError, *, model: str) -> Result:
    """
    Return the result of a request whose record is gone, for a task that has not submitted it: sensor and transfer.

    :raises SegmindRequestFailedError: the history says that it FAILED.
    :raises SegmindRequestExpiredError: the history does not know its output either, or (retryable) calls it pending.
    :raises SegmindError: it did not answer.
    """
    found = recall_result(segmind, gone, model=model)
    if isinstance(found, Result):
        return found
    if found is not None and found.state is RequestState.FAILED:
        raise found.failure()
    if found is not None:
        raise still_on_its_way(gone)
    raise SegmindRequestExpiredError(
        "the request history does not know its output either",
        request_id=gone.request_id,
        next_step="Check the request id. A record lives for one hour; a new submit is billed again.",
    ) from gone


def fetch_result(segmind: Segmind, request_id: str, model: str) -> Result:
    """
    Return the result of a completed request: by its record, or by the request history if the record has expired.

    :param segmind: Segmind, for the model and a key.
    :param request_id: the request.
    :param model: slug of its model, for the result.
    :raises SegmindError: as :func:`recalled`.
    """
    try:
        return segmind.result(request_id)
    except SegmindRequestExpiredError as error:
        return recalled(segmind, error, model=model)


def still_on_its_way(gone: SegmindRequestExpiredError, next_step: str = _ASKED_AGAIN) -> SegmindRequestExpiredError:
    """Return the error for a request whose record is gone, and which the history still calls pending."""
    return SegmindRequestExpiredError(
        "the request history says that it is still on its way",
        request_id=gone.request_id,
        next_step=next_step,
        retryable=True,
    )
