"""
The life of a request: how a want is paid for once, whatever crashes on the way.

Theory of operation:

1. Segmind bills every submit, has no idempotency key and no cancel call. GETs are free. So everything here turns on
   one question: may this POST be sent? *In doubt, never pay.*
2. A want has a request record (``record.py``). Before the POST leaves, the record says INTENDED and is written; right
   after the response it says SUBMITTED with the request id and is written. So a process that dies leaves either
   nothing (nothing was sent), a request id (reattach to it), or an INTENDED record: an unknown outcome.
3. An unknown outcome is resolved: a mark on this machine proves that the POST never left (``marks.py``: submit); else
   the request history (``resolve.py``) shows the request (reattach), or a later row proves that the submit was never
   accepted (submit), or neither. Then ``on_lost_submit`` decides: ``fail`` leaves the record as it is and raises a
   retryable error, so that the next try searches again; ``resubmit`` pays again.
4. Where nothing is remembered but an earlier try may have submitted (the store was cleaned, or Airflow has none), the
   history is asked before anything is submitted.
5. What was submitted stays ours until it is delivered. Segmind forgets a request after an hour: then its history is
   asked for the output. A history that does not answer, or says PENDING, is a retryable error, not "gone".
6. Only three things lead back to a submit: the request FAILED (free), the submit was proven never accepted, or the
   output is gone: refused in two tries after the record's hour, or known to nobody (or PENDING for more than a day) and
   ``on_lost_submit="resubmit"``.
7. A POST is sent once per intent. A 429 or a refused connection was not accepted. After a 5xx the history is asked
   once before it is repeated. Anything else without a readable response is an unknown outcome.
8. The task returns: DELIVERED. Airflow reports the success: CLOSED, and the next try of a cleared task is a new want.
   A task that failed in between returns the same result again.

A single request is a batch of one: every method takes any number of wants. What goes wrong with one want is put into
its ``error`` and does not concern the others; what concerns all is raised. Nothing here knows Airflow, reads a clock or
opens a socket: that is behind the ports (``ports.py``), so ``tests/simulation/`` runs this very code in a world where
everything goes wrong.
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
from airflow_provider_segmind.execution.recover import Recovery, still_on_its_way
from airflow_provider_segmind.execution.resolve import Outcome, Verdict, resolve
from airflow_provider_segmind.execution.submit import Submitter
from airflow_provider_segmind.execution.want import Rules, Want
from airflow_provider_segmind.protocol.events import CompletedEvent, Event, FailedEvent, FetchEvent, error_from_dict
from airflow_provider_segmind.protocol.history import created
from airflow_provider_segmind.protocol.lifetimes import OUTPUT_LIVES, RECORD_SURE
from airflow_provider_segmind.protocol.wire import HistoryRow, Result

log = logging.getLogger(__name__)

#: Seconds for which the history is searched after a 5xx.
_AFTER_ERROR = 1.0
#: A request that was found in the history and has FAILED may be another want's: then it is searched for again.
_ROUNDS = 4
#: Seconds after which the history is asked again, should a process have been suspended meanwhile.
_ASKED_FOR = 60.0


class Engine:
    """
    Work on the wants of one task instance, in one process.

    :param segmind: the model at Segmind.
    :param records: what is remembered between tries.
    :param clock: the time.
    :param rules: what the author decides.
    :param completed: called once for each want whose result becomes known.
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
        self._submitter = Submitter(segmind, records, clock, rules.model, self.recall, self.settle)
        self._given_up: set[str] = set()
        self._killed = False
        self._left: list[RequestRecord] = []  # open, and not wanted any more

    # --- take up what earlier tries left --------------------------------------------------------------------

    def take_up(
        self,
        wants: Sequence[Want],
        *manifests: Mapping[str, RequestRecord],
        begins: bool = True,
        killed_since: float | None = None,
    ) -> None:
        """
        Give each want the record that is right of all that witnesses know.

        :param begins: False where a try goes on that has taken them up before.
        :param manifests: the rows of all manifests in the folder.
        :param killed_since: since when another run worked on them that was killed (epoch seconds).
        """
        stored, self._killed = self.records.read(), killed_since is not None
        wanted = {want.record.key for want in wants}
        self._left = [record for key, record in stored.items() if record.open and key not in wanted]
        for want in wants:
            want.taken_up = True
            new = want.record
            rows = [manifest.get(new.key) for manifest in manifests]
            found, want.other = right_of(stored.get(new.key), rows, owner=self.rules.owner)
            if found is None and self.records.unreadable:  # whatever it says: something may be paid for
                found = RequestRecord(key=new.key, state=State.INTENDED, doubt="lost")
            want.record = found.as_of(new) if found is not None else new
            if begins:
                want.record.take_up(self.rules.owner, self.rules.try_number)
            if begins and self.rules.ran_before and new.key not in stored:
                want.record.forget(self.rules.began_at or 0.0)  # a manifest says nothing of what was submitted since
            if begins and killed_since is not None:
                want.record.forget(killed_since)

    def log_earlier(self, wants: Sequence[Want]) -> None:
        """Log what earlier tries left: what is taken up, and what is left behind."""
        for record in self._left:
            left = f"request {record.request_id}" if record.request_id else "a submit whose outcome is not known"
            log.warning("The parameters changed: %s is left behind, and billed if it completes", left)
        known = [want.record.request_id for want in wants if want.record.open and want.record.request_id]
        if known:
            what = f"request {known[0]}" if len(known) == 1 else f"{len(known)} requests"
            log.info("Reattached to %s of an earlier try: nothing is billed again", what)

    def prepare(self, wants: Sequence[Want]) -> None:
        """Find out what is there already, before anything is submitted."""
        self.recall(wants)
        for _ in range(_ROUNDS):
            self.settle(wants)
            self.refresh(wants)
            if not any(self._is_doubtful(want) for want in wants):
                break

    def recall(self, wants: Sequence[Want]) -> None:
        """Reattach to what another owner submitted, or no record holds, before anything is submitted again."""
        for want in wants:
            self._take_over(want)
        lost = [want for want in wants if self._may_be_forgotten(want)]
        if not lost:
            return
        # Where there is a store, what it has lost was submitted long ago; a run may have been killed just now.
        timeout = 0.0 if self.records.available and not self._killed else self.rules.lost_submit_wait
        log.info("Searching the request history for %d want(s) of which there may be no record", len(lost))
        for want, verdict in zip(lost, self._resolve(lost, wants, timeout), strict=True):
            want.asked_at = self.clock.now()
            if verdict.row is not None:
                self._reattach(want, verdict.row, "recall")
            elif verdict.outcome is Outcome.NO_RESPONSE:
                want.error = want.unknown(self.rules.model, verdict.error, nothing_sent=True)
        self.records.put(want.record for want in lost if want.record.open)

    def _take_over(self, want: Want) -> None:
        record, other = want.record, want.other
        if record.state is not State.WAITING or want.error is not None or other is None:
            return
        want.other = None
        if other.replaces(record):
            want.record = other.instead_of(record).as_of(record)
            want.record.run_again()
            if want.record.state is State.DELIVERED:  # nobody has checked that it is still there
                want.record.undelivered()

    def _may_be_forgotten(self, want: Want) -> bool:
        record, asked = want.record, self.clock.now() - want.asked_at < _ASKED_FOR
        return record.state is State.WAITING and record.forgotten_since is not None and want.error is None and not asked

    def settle(self, wants: Sequence[Want]) -> None:
        """Resolve unknown outcomes: afterwards no want is INTENDED, or its ``error`` says why it still is."""
        self._settle_here(wants)
        doubtful = [want for want in wants if self._is_doubtful(want)]
        if not doubtful:
            return
        lost = any(want.record.doubt != "error" for want in doubtful)
        timeout = self.rules.lost_submit_wait if lost else _AFTER_ERROR
        log.info("Searching the request history for %d submit(s) whose outcome is not known", len(doubtful))
        for want, verdict in zip(doubtful, self._resolve(doubtful, wants, timeout), strict=True):
            self._settle(want, verdict)
        self.records.put(want.record for want in doubtful)

    def _settle_here(self, wants: Sequence[Want]) -> None:
        """Resolve what this machine knows: a process that died right before its POST has left its mark."""
        for want in wants:
            mark = want.record.mark
            if self._is_doubtful(want) and mark is not None and self.segmind.take(mark):
                log.info("The submit of %s never left this machine", self.rules.model)
                want.record.withdraw()
                self.records.put([want.record])

    @staticmethod
    def _is_doubtful(want: Want) -> bool:
        return want.record.state is State.INTENDED and want.error is None

    def _settle(self, want: Want, verdict: Verdict) -> None:
        record, outcome = want.record, verdict.outcome
        if verdict.row is not None:
            self._reattach(want, verdict.row, "recall" if record.intended_at is None else "intent")
        elif outcome is Outcome.NEVER_ACCEPTED:
            log.info("The submit of %s never reached Segmind: later requests are listed, it is not", self.rules.model)
            record.withdraw()
        elif outcome is Outcome.NO_RESPONSE:
            want.error = want.unknown(self.rules.model, verdict.error)
        elif record.doubt == "error" and not verdict.foreign:
            self._give_up(want)
        elif self.rules.on_lost_submit == "resubmit" and record.key not in self._given_up:
            log.warning("%s Submitting again: on_lost_submit='resubmit'", want.unknown(self.rules.model))
            self._given_up.add(record.key)
            self._give_up(want)
        else:
            want.error = want.unknown(self.rules.model)

    def _give_up(self, want: Want) -> None:
        """Take a submit that the history does not show for refused; it is asked again before a later try submits."""
        want.record.withdraw()
        want.record.forget(want.record.intended_at or self.rules.began_at or 0.0)
        want.asked_at = self.clock.now()

    def _resolve(self, sought: Sequence[Want], wants: Sequence[Want], timeout: float) -> list[Verdict]:
        taken = {want.record.request_id for want in wants if want.record.request_id}
        taken.update(request_id for want in wants for request_id in want.record.earlier)
        oldest, began = self.clock.now() - OUTPUT_LIVES, self.rules.began_at or 0.0
        searched_for = [want.sought(began=began, oldest=oldest) for want in sought]
        return resolve(self.segmind, self.clock, self.rules.model, searched_for, timeout=timeout, taken=taken)

    def _reattach(self, want: Want, row: HistoryRow, found: Literal["intent", "recall"]) -> None:
        log.info("Reattached to request %s of an earlier submit: nothing is billed again", row.request_id)
        made = created(row)
        at = self.clock.now() if made is None else made - (self.segmind.skew or 0.0)
        want.record.submitted(row.request_id, at=at, found=found)

    # --- submit -----------------------------------------------------------------------------------------------

    def submit(self, wants: Sequence[Want]) -> None:
        """Submit the wants that are WAITING, see :meth:`.Submitter.submit`."""
        self._submitter.submit(wants)

    @property
    def stopped(self) -> SegmindError | None:
        """The error that ended the submits for all wants; a rate limit is one."""
        return self._submitter.limited or self._submitter.halted

    # --- a request whose record Segmind may have dropped -------------------------------------------------------

    def refresh(self, wants: Iterable[Want]) -> None:
        """Ask for the requests that are so old that Segmind may have forgotten them."""
        for want in wants:
            record = want.record
            if record.state is State.SUBMITTED and want.error is None and self._recovery.age(record) > RECORD_SURE:
                want.guarded(self._recovery.recover)
                if want.error is not None and not isinstance(want.error, SegmindRequestExpiredError):
                    log.warning("%s", want.error)  # not known now: it is waited for, and known then
                    want.error = None

    # --- the end of a wait, and delivery -----------------------------------------------------------------------

    def ended(self, want: Want, event: Event) -> None:
        """Take in the event that ended the wait for a want's request; what it reports is put into the want."""
        want.guarded(lambda want: self._ended(want, event))

    def _ended(self, want: Want, event: Event) -> None:
        record = want.record
        if record.request_id is None and record.state in (State.WAITING, State.INTENDED):
            record.submitted(event.request_id, at=self.clock.now())  # nothing but the event remembers
        if event.request_id != record.request_id:
            raise SegmindEventError(f"it is about request {event.request_id:.60}", request_id=record.request_id)
        if record.state is not State.SUBMITTED:
            return  # delivered twice, or late: everything is known already
        if isinstance(event, CompletedEvent):
            self._recovery.has_result(want, event.result)
        elif isinstance(event, FetchEvent):
            self._recovery.fetch(want)
        elif isinstance(event, FailedEvent):
            record.free()
            self.records.put([record])
            error = error_from_dict(event.error)
            error.retryable = error.retryable or record.doubt is not None  # it was perhaps another want's
            raise error
        else:
            error = error_from_dict(event.error)
            if not isinstance(error, SegmindRequestExpiredError):
                raise error
            self._recovery.recover(want)
            if record.state is State.SUBMITTED:
                raise still_on_its_way(error)

    def deliver(self, wants: Sequence[Want], storage: Storage | None, *, by: str | None = None) -> None:
        """Store the outputs of the COMPLETED wants, see :meth:`.Deliverer.deliver`."""
        self._deliverer.deliver(wants, storage, by=by)

    def still_delivered(self, want: Want, storage: Storage | None) -> None:
        """Check what an earlier try delivered, see :meth:`.Deliverer.check`."""
        self._deliverer.check(want, storage)
