"""
The life of a request: how a want is paid for once, wherever a process fails.

Theory of operation:

1. Segmind bills every submit and has neither idempotency keys nor a call to cancel a request. GETs are free. So the
   question is always: may this POST be sent? *In doubt, never pay.*
2. A want has a request record (``record.py``). Before the POST leaves, the record is written as INTENDED; right after
   the response it is written as SUBMITTED, with the request id. So a process that fails leaves nothing (nothing was
   sent), a request id (reattach to it), or an INTENDED record: an unknown outcome.
3. An unknown outcome is resolved. A mark on this machine shows that the POST never left (``marks.py``: submit). Else
   the request history is searched (``resolve.py``): it shows the request (reattach), or a later row shows that the
   submit was never accepted (submit), or neither. In the last case ``on_lost_submit`` decides: ``fail`` leaves the
   record as it is and raises a retryable error, so that the next try searches again; ``resubmit`` pays again.
4. If the record is missing and an earlier try may have submitted (the store was cleaned, or Airflow has none), the
   history is searched before anything is submitted.
5. A submitted request is kept until its result is delivered. Its record at Segmind expires after an hour; then the
   history is asked for the output. A history that does not respond, or reports PENDING, is a retryable error: it does
   not show that the output is missing.
6. Only three events lead back to a submit: the request FAILED (free), the submit was never accepted, or the output is
   missing. An output is missing if it was refused in two tries after its record has expired, or if the history does
   not know it (or reports PENDING for more than a day) and ``on_lost_submit="resubmit"``.
7. A POST is sent once per intent. A 429 or a refused connection was not accepted. After a 5xx the history is searched
   once before the POST is repeated. Any other end without a readable response is an unknown outcome.
8. The task returns: DELIVERED. Airflow reports the success: CLOSED, and the next try of a cleared task is a new want.
   A task that failed in between returns the same result again.

A single request is a batch of one: every method takes any number of wants. An error of one want is put into its
``error`` and does not affect the others; an error of all wants is raised. The engine does not import Airflow, read a
clock or open a socket: these are behind the ports (``ports.py``), so that ``tests/simulation/`` runs the same code in a
simulated world with faults.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from airflow_provider_segmind.exceptions import (
    SegmindError,
    SegmindEventError,
    SegmindRequestExpiredError,
)
from airflow_provider_segmind.execution.deliver import Deliverer
from airflow_provider_segmind.execution.ports import Clock, Records, Segmind, Storage
from airflow_provider_segmind.execution.record import RequestRecord, State, right_of
from airflow_provider_segmind.execution.recover import Recovery, still_pending
from airflow_provider_segmind.execution.resolve import Outcome, Verdict, resolve
from airflow_provider_segmind.execution.submit import Submitter
from airflow_provider_segmind.execution.want import Rules, Want
from airflow_provider_segmind.protocol.events import CompletedEvent, Event, FailedEvent, FetchEvent, error_from_dict
from airflow_provider_segmind.protocol.history import created
from airflow_provider_segmind.protocol.lifetimes import OUTPUT_LIVES, RECORD_SURE
from airflow_provider_segmind.protocol.wire import HistoryRow, Result

log = logging.getLogger(__name__)

#: Seconds for which the history is searched after a 5xx.
_SEARCH_AFTER_5XX = 1.0
#: Searches at most: a FAILED request that was found in the history may be another want's; then the search is repeated.
_MAX_ROUNDS = 4
#: Seconds for which a search of the history counts; after that the process may have been suspended.
_SEARCH_VALID_FOR = 60.0


class Engine:
    """
    Submit, reattach, resolve, recover and deliver the wants of one task instance, in one process.

    :param segmind: port to the model at Segmind.
    :param records: port to the request records, which survive the process.
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
        *,
        completed: Callable[[Want, Result], None] = lambda want, result: None,
    ) -> None:
        self.segmind, self.records, self.clock, self.rules = segmind, records, clock, rules
        self._recovery = Recovery(segmind, records, clock, rules, completed)
        self._deliverer = Deliverer(records, clock, self._recovery)
        self._submitter = Submitter(segmind, records, clock, rules.model, self.recall, self.resolve_outcomes)
        self._given_up: set[str] = set()
        self._killed = False
        self._unwanted: list[RequestRecord] = []  # open requests that are no longer wanted

    # --- the records of earlier tries -------------------------------------------------------------------------

    def load_records(
        self,
        wants: Sequence[Want],
        *manifests: Mapping[str, RequestRecord],
        begins: bool = True,
        killed_since: float | None = None,
    ) -> None:
        """
        Give each want its newest record, from the state store and the manifests.

        :param wants: of the task instance.
        :param manifests: the rows of each manifest in the folder, by their keys.
        :param begins: False when a try is resumed after a deferral.
        :param killed_since: start of another run on these wants that was killed (epoch seconds); None if none was.
        """
        stored, self._killed = self.records.read(), killed_since is not None
        wanted = {want.record.key for want in wants}
        self._unwanted = [record for key, record in stored.items() if record.open and key not in wanted]
        for want in wants:
            want.loaded = True
            new = want.record
            rows = [manifest.get(new.key) for manifest in manifests]
            found, want.other = right_of(stored.get(new.key), rows, owner=self.rules.owner)
            if found is None and self.records.unreadable:  # the record may be of a request that is paid for
                found = RequestRecord(key=new.key, state=State.INTENDED, doubt="lost")
            want.record = found.as_of(new) if found is not None else new
            if begins:
                want.record.begin_try(self.rules.owner, self.rules.try_number)
            if begins and self.rules.ran_before and new.key not in stored:
                want.record.forget(self.rules.began_at or 0.0)  # a manifest may be older than the last submit
            if begins and killed_since is not None:
                want.record.forget(killed_since)

    def log_earlier(self, wants: Sequence[Want]) -> None:
        """Log the requests of earlier tries: those that are continued, and those that are no longer wanted."""
        for record in self._unwanted:
            what = f"request {record.request_id}" if record.request_id else "a submit with unknown outcome"
            log.warning("The parameters changed: %s is no longer used, and is billed if it completes", what)
        known = [want.record.request_id for want in wants if want.record.open and want.record.request_id]
        if known:
            what = f"request {known[0]}" if len(known) == 1 else f"{len(known)} requests"
            log.info("Reattached to %s of an earlier try: nothing is billed again", what)

    def prepare(self, wants: Sequence[Want]) -> None:
        """Find the requests of earlier tries before anything is submitted."""
        self.recall(wants)
        for _ in range(_MAX_ROUNDS):
            self.resolve_outcomes(wants)
            self.refresh(wants)
            if not any(self._is_doubtful(want) for want in wants):
                break

    def recall(self, wants: Sequence[Want]) -> None:
        """Reattach to requests of another owner, or without a record, before anything is submitted again."""
        for want in wants:
            self._use_record_of_other(want)
        unrecorded = [want for want in wants if self._may_be_unrecorded(want)]
        if not unrecorded:
            return
        # A request that a store has lost is old, so the history lists it already; that of a killed run may be recent.
        timeout = 0.0 if self.records.available and not self._killed else self.rules.lost_submit_wait
        log.info("Searching the request history for %d request(s) that may have no record", len(unrecorded))
        for want, verdict in zip(unrecorded, self._search_history(unrecorded, wants, timeout), strict=True):
            want.searched_at = self.clock.now()
            if verdict.row is not None:
                self._reattach(want, verdict.row, "recall")
            elif verdict.outcome is Outcome.NO_RESPONSE:
                want.error = want.unknown(self.rules.model, verdict.error, nothing_sent=True)
        self.records.put(want.record for want in unrecorded if want.record.open)

    def _use_record_of_other(self, want: Want) -> None:
        record, other = want.record, want.other
        if record.state is not State.WAITING or want.error is not None or other is None:
            return
        want.other = None
        if other.replaces(record):
            want.record = other.instead_of(record).as_of(record)
            want.record.run_again()
            if want.record.state is State.DELIVERED:  # its stored objects were not checked
                want.record.undelivered()

    def _may_be_unrecorded(self, want: Want) -> bool:
        record, searched = want.record, self.clock.now() - want.searched_at < _SEARCH_VALID_FOR
        return (
            record.state is State.WAITING and record.forgotten_since is not None and want.error is None and not searched
        )

    def resolve_outcomes(self, wants: Sequence[Want]) -> None:
        """Resolve unknown outcomes; a want that stays INTENDED has an ``error`` with the reason."""
        self._resolve_by_marks(wants)
        doubtful = [want for want in wants if self._is_doubtful(want)]
        if not doubtful:
            return
        lost = any(want.record.doubt != "error" for want in doubtful)
        timeout = self.rules.lost_submit_wait if lost else _SEARCH_AFTER_5XX
        log.info("Searching the request history for %d submit(s) with unknown outcome", len(doubtful))
        for want, verdict in zip(doubtful, self._search_history(doubtful, wants, timeout), strict=True):
            self._apply_verdict(want, verdict)
        self.records.put(want.record for want in doubtful)

    def _resolve_by_marks(self, wants: Sequence[Want]) -> None:
        """Resolve outcomes by marks: a process that failed right before its POST has left its mark on this machine."""
        for want in wants:
            mark = want.record.mark
            if self._is_doubtful(want) and mark is not None and self.segmind.take(mark):
                log.info("The submit of %s was not sent: its mark is still on this machine", self.rules.model)
                want.record.withdraw()
                self.records.put([want.record])

    @staticmethod
    def _is_doubtful(want: Want) -> bool:
        return want.record.state is State.INTENDED and want.error is None

    def _apply_verdict(self, want: Want, verdict: Verdict) -> None:
        record, outcome = want.record, verdict.outcome
        if verdict.row is not None:
            self._reattach(want, verdict.row, "recall" if record.intended_at is None else "intent")
        elif outcome is Outcome.NEVER_ACCEPTED:
            log.info(
                "The submit of %s was not accepted: the request history lists later requests only", self.rules.model
            )
            record.withdraw()
        elif outcome is Outcome.NO_RESPONSE:
            want.error = want.unknown(self.rules.model, verdict.error)
        elif record.doubt == "error" and not verdict.foreign:
            self._give_up(want)
        elif self.rules.on_lost_submit == "resubmit" and record.key not in self._given_up:
            log.warning("%s Submitting again because of on_lost_submit='resubmit'", want.unknown(self.rules.model))
            self._given_up.add(record.key)
            self._give_up(want)
        else:
            want.error = want.unknown(self.rules.model)

    def _give_up(self, want: Want) -> None:
        """Treat a submit that the history does not show as refused; a later try searches again before it submits."""
        want.record.withdraw()
        want.record.forget(want.record.intended_at or self.rules.began_at or 0.0)
        want.searched_at = self.clock.now()

    def _search_history(self, sought: Sequence[Want], wants: Sequence[Want], timeout: float) -> list[Verdict]:
        taken = {want.record.request_id for want in wants if want.record.request_id}
        taken.update(request_id for want in wants for request_id in want.record.earlier)
        oldest, began = self.clock.now() - OUTPUT_LIVES, self.rules.began_at or 0.0
        searched_for = [want.sought(began=began, oldest=oldest) for want in sought]
        return resolve(self.segmind, self.clock, self.rules.model, searched_for, timeout=timeout, taken=taken)

    def _reattach(self, want: Want, row: HistoryRow, found: Literal["intent", "recall"]) -> None:
        log.info("Reattached to request %s of an earlier submit: nothing is billed again", row.request_id)
        accepted_at = created(row)  # by Segmind's clock
        at = self.clock.now() if accepted_at is None else accepted_at - (self.segmind.skew or 0.0)
        want.record.submitted(row.request_id, at=at, found=found)

    # --- submit -----------------------------------------------------------------------------------------------

    def submit(self, wants: Sequence[Want]) -> None:
        """Submit the wants that are WAITING, see :meth:`.Submitter.submit`."""
        self._submitter.submit(wants)

    @property
    def stopped(self) -> SegmindError | None:
        """The error that ended the submits for all wants; a rate limit is one."""
        return self._submitter.limited or self._submitter.halted

    # --- requests whose record may have expired ----------------------------------------------------------------

    def refresh(self, wants: Iterable[Want]) -> None:
        """Recover the requests that are so old that their records at Segmind may have expired."""
        for want in wants:
            record = want.record
            if record.state is State.SUBMITTED and want.error is None and self._recovery.age(record) > RECORD_SURE:
                want.guarded(self._recovery.recover)
                if want.error is not None and not isinstance(want.error, SegmindRequestExpiredError):
                    log.warning("%s", want.error)  # unknown for now: the wait for the request finds out
                    want.error = None

    # --- the end of a wait, and delivery -----------------------------------------------------------------------

    def ended(self, want: Want, event: Event) -> None:
        """Apply the event that ended the wait for a want's request; an error is put into the want."""
        want.guarded(lambda want: self._ended(want, event))

    def _ended(self, want: Want, event: Event) -> None:
        record = want.record
        if record.request_id is None and record.state in (State.WAITING, State.INTENDED):
            record.submitted(event.request_id, at=self.clock.now())  # the event is the only record
        if event.request_id != record.request_id:
            raise SegmindEventError(f"the event is about request {event.request_id:.60}", request_id=record.request_id)
        if record.state is not State.SUBMITTED:
            return  # the event came twice, or late: everything is known already
        if isinstance(event, CompletedEvent):
            self._recovery.has_result(want, event.result)
        elif isinstance(event, FetchEvent):
            self._recovery.fetch(want)
        elif isinstance(event, FailedEvent):
            record.free()
            self.records.put([record])
            error = error_from_dict(event.error)
            error.retryable = error.retryable or record.doubt is not None  # the request may have been another want's
            raise error
        else:
            error = error_from_dict(event.error)
            if not isinstance(error, SegmindRequestExpiredError):
                raise error
            self._recovery.recover(want)
            if record.state is State.SUBMITTED:
                raise still_pending(error)

    def deliver(self, wants: Sequence[Want], storage: Storage | None, *, by: str | None = None) -> None:
        """Store the outputs of the COMPLETED wants, see :meth:`.Deliverer.deliver`."""
        self._deliverer.deliver(wants, storage, by=by)

    def still_delivered(self, want: Want, storage: Storage | None) -> None:
        """Check the stored objects of an earlier try, see :meth:`.Deliverer.check`."""
        self._deliverer.check(want, storage)
