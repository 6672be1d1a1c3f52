"""
The ledger of a task instance: what was submitted for it and not yet handed over.

It lies in Airflow's task state store (Airflow 3.3), which survives a killed process, a retry and a clear. The
intention is written before the POST, the request id right after its answer, the result once it is known, and what
is handed over before the task ends: wherever the process dies, the next try knows what may already be paid for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_segmind.exceptions import (
    SegmindAnswerLostError,
    SegmindError,
    SegmindRequestExpiredError,
)
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.resume import (
    CLOCK_SKEW,
    Entry,
    Next,
    decide,
    matching_row,
    older,
    read_entry,
    result_of_row,
    without_query,
)
from airflow_provider_segmind.protocol.wire import HistoryRow, RequestState, Result
from airflow_provider_segmind.retrying import RetryBudget

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_segmind.hooks.segmind import SegmindHook

log = logging.getLogger(__name__)

KEY = "segmind_request"
#: A little over the hour for which Segmind keeps a request's record; it counts from the latest write.
RETENTION = timedelta(minutes=75)
#: Seconds for which Segmind surely keeps a record: an id that is unknown earlier is not known everywhere yet.
_RECORDS_LIVE = 55 * 60.0
#: Seconds after the first look at which the history is searched again: rows can appear late.
_LOOKS = (0.0, 1.0, 3.0, 7.0, 15.0, 30.0, 60.0, 120.0, 240.0)
#: The history is read in pages of this many rows, and so many of them at most.
_ROWS, _MOST_PAGES = 100, 20
_PER_LOOK = RetryBudget(attempts=2, seconds=5.0)


class Ledger:
    """
    The entry of one task instance, read once and written through.

    :param context: the task's context; without a state store in it the ledger remembers nothing.
    :param durable: False to remember nothing at all.
    :param clock: the time (epoch seconds); for tests.
    """

    def __init__(self, context: Context, *, durable: bool = True, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.durable = durable
        self._store: Any = context.get("task_state_store") if durable else None
        ti = context["ti"]
        self.run_of_tries = int(getattr(ti, "max_tries", 0) or 0)
        self.try_number = int(getattr(ti, "try_number", 1) or 1)
        self.unreadable = False
        self.entry = self._read()

    @property
    def available(self) -> bool:
        """False where there is nothing to write to."""
        return self._store is not None

    def _read(self) -> Entry | None:
        if self._store is None or (value := self._store.get(KEY)) is None:
            return None
        entry = read_entry(value)
        self.unreadable = entry is None
        return entry

    def outlived(self) -> bool:
        """Tell whether Segmind has forgotten what the entry is about, by its age."""
        entry = self.entry
        return entry is not None and self._clock() - (entry.submitted_at or entry.intended_at) > _RECORDS_LIVE

    def result(self) -> Result | None:
        """Return the result that was written, if its output can be fetched without the request's record."""
        if self.entry is None or self.entry.result is None:
            return None
        found = Result.model_validate(self.entry.result)
        return found if found.fetchable else None

    def _write(self, entry: Entry) -> None:
        self.entry = entry
        if self._store is not None:
            self._store.set(KEY, entry.model_dump(mode="json"), retention=RETENTION)

    def _grow(self, **fields: Any) -> None:
        if self.entry is not None:
            self._write(self.entry.model_copy(update=fields))

    def intend(self, fingerprint: str, *, uploaded: str | None = None, transport: str | None = None) -> None:
        """Write, before the POST leaves, that it is about to."""
        self._write(
            Entry(
                fingerprint=fingerprint,
                run_of_tries=self.run_of_tries,
                intended_at=self._clock(),
                uploaded=uploaded,
                transport=transport,
            )
        )

    def submitted(self, request_id: str, *, at: float | None = None) -> None:
        """Write the request id, right after Segmind's answer."""
        self._grow(request_id=request_id, submitted_at=self._clock() if at is None else at)

    def finished(self, result: Result) -> None:
        """Write the result: from now on the request's record is not needed any more."""
        self._grow(result=result.to_xcom())

    def hand_over(self, value: Any) -> None:
        """Write what the task returns, before it ends: it also closes the entry for a later clear."""
        self._grow(handed_over=value, run_of_tries=self.run_of_tries)

    def withdraw(self) -> None:
        """Forget an intention that came to nothing: the submit was refused, nothing is outstanding."""
        self.entry = None
        if self._store is not None:
            self._store.delete(KEY)


@dataclass(frozen=True)
class Taken:
    """An earlier try had finished: hand this over."""

    value: Any


@dataclass(frozen=True)
class Attached:
    """A request that is already running, or done: wait for it."""

    request_id: str
    submitted_at: float


@dataclass(frozen=True)
class Known:
    """The result is known, though Segmind has forgotten the request: store it."""

    result: Result


Found = Taken | Attached | Known


@dataclass(frozen=True)
class Wanted:
    """
    The request that a task wants now.

    :param complete: False where the body lacks its picture, which has to be uploaded first: such a body would
        match anybody's request in the history.
    :param signed: True where ``image`` is a presigned URL: a secret, and another one for each try.
    """

    model: str
    body: Mapping[str, Any] = field(repr=False)
    fingerprint: str
    complete: bool = True
    signed: bool = False

    @property
    def shown(self) -> Mapping[str, Any]:
        """The body without its signature: what may be told, and what the history is searched for."""
        return {**self.body, "image": without_query(self.body["image"])} if self.signed else self.body


class Reconnector:
    """
    Find the request that an earlier try left behind, before anything new is submitted.

    :param hook: asks Segmind.
    :param ledger: what the earlier tries wrote.
    :param on_lost_submit: what to do where a submit's answer is lost and the history does not know it.
    :param patience: seconds for which the history is searched again and again: rows can appear late.
    :param sleep: how to wait (seconds); for tests.
    """

    def __init__(
        self,
        hook: SegmindHook,
        ledger: Ledger,
        *,
        on_lost_submit: Literal["fail", "resubmit"],
        patience: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._hook = hook
        self._ledger = ledger
        self._on_lost_submit = on_lost_submit
        self._patience = patience
        self._sleep = sleep

    def find(self, wanted: Wanted) -> Found | None:
        """Return what is there already; None where a submit is right."""
        if not self._ledger.durable:
            return None
        if self._ledger.unreadable or not self._ledger.available:
            return self._without_ledger(wanted)
        entry = self._ledger.entry
        step, why = decide(entry, fingerprint=wanted.fingerprint, run_of_tries=self._ledger.run_of_tries)
        if why:
            log.info("Ledger: %s", why)
        if entry is None or step is Next.SUBMIT:
            return None
        if step is Next.TAKE:
            return Taken(entry.handed_over)
        if step is Next.SEARCH:
            return self.settle(wanted, since=entry.intended_at)
        return self._look(wanted, entry)

    def _look(self, wanted: Wanted, entry: Entry) -> Found | None:
        request_id = entry.request_id or ""
        if (result := self._ledger.result()) is not None:
            return Known(result)
        state = self._state(request_id)
        if state is None:
            return self._expired(wanted, request_id)
        if state is RequestState.FAILED:
            log.warning("Request %s of an earlier try FAILED, which is free: submitting anew", request_id)
            return None
        log.info("Attaching to request %s of an earlier try (%s): nothing is billed anew", request_id, state)
        return Attached(request_id, entry.submitted_at or entry.intended_at)

    def _state(self, request_id: str) -> RequestState | None:
        """Return where a request stands; None where Segmind has forgotten it, and not only a moment's confusion."""
        pauses = (0.0,) if self._ledger.outlived() else (0.0, 2.0, 5.0, 10.0)
        for pause in pauses:
            self._sleep(pause)
            try:
                return self._hook.get_status(request_id).state
            except SegmindRequestExpiredError as error:
                log.info("%s", error)
        return None

    def _expired(self, wanted: Wanted, request_id: str) -> Found | None:
        result = recover(self._hook, self._ledger, wanted.model, request_id)
        if result is not None:
            return Known(result)
        if not self._ledger.outlived():
            raise SegmindRequestExpiredError(
                "it should be known for an hour from its submit",
                request_id=request_id,
                next_step="Another try looks again before anything is submitted anew.",
                retryable=True,
            )
        log.warning("Segmind forgot request %s and its output: submitting, and paying, anew", request_id)
        return None

    def settle(self, wanted: Wanted, *, since: float, cause: SegmindError | None = None) -> Attached | None:
        """
        Find out what became of a submit whose answer is not known.

        :param since: when it was about to be sent (epoch seconds).
        :param cause: how its answer was lost, where that is known.
        :return: the request, now in the ledger; None where ``on_lost_submit="resubmit"`` and it is not found.
        :raises SegmindAnswerLostError: it is not found, and must not be submitted blindly.
        """
        row = self._search(wanted, since)
        if row is not None:
            log.info("The history knows the lost submit: it is request %s", row.request_id)
            self._ledger.submitted(row.request_id, at=since)
            return Attached(row.request_id, since)
        when = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")
        if self._on_lost_submit == "resubmit":
            log.warning("The submit of %s at %s is not in the history: submitting anew", wanted.model, when)
            return None
        shown = ", ".join(f"{name}={str(value)[:80]}" for name, value in wanted.shown.items())
        lost = f"{cause.what}: {cause.detail}; " if cause else ""
        raise SegmindAnswerLostError(
            f"{lost}{wanted.model} at {when} with {shown}; "
            f"the request history does not show it after {self._patience:g} s",
            next_step="Look into the account's request history. If it is not there, clear the task with "
            'on_lost_submit="resubmit"; a second submit of one that runs is a second bill.',
        ) from cause

    def _search(self, wanted: Wanted, since: float) -> HistoryRow | None:
        looked = 0.0
        for at in (*(look for look in _LOOKS if look < self._patience), self._patience):
            self._sleep(max(0.0, at - looked))
            looked = at
            if row := self._search_once(wanted, since):
                return row
        return None

    def _search_once(self, wanted: Wanted, since: float) -> HistoryRow | None:
        """Read the history from its newest row back to the intention."""
        day = datetime.fromtimestamp(since - CLOCK_SKEW, UTC).date()
        for page in range(1, _MOST_PAGES + 1):
            rows = _history(self._hook, model=wanted.model, from_date=day, page=page, per_page=_ROWS)
            if row := matching_row(rows, model=wanted.model, body=wanted.shown, since=since, signed=wanted.signed):
                return row
            if len(rows) < _ROWS or all(older(row, since) for row in rows):
                return None
        return None

    def _without_ledger(self, wanted: Wanted) -> Found | None:
        if self._ledger.try_number <= 1 and not self._ledger.unreadable:
            return None
        if not wanted.complete:
            log.warning("There is no ledger to read here, and an uploaded picture has no address to look for")
            return None
        log.warning("There is no ledger to read here: looking for an earlier try's request in the history")
        row = self._search(wanted, time.time() - RETENTION.total_seconds())
        if row is None:
            return None
        if (row.status or "").upper() == RequestState.COMPLETED and (result := result_of_row(row, model=wanted.model)):
            return Known(result)
        return Attached(row.request_id, time.time())


def recover(hook: SegmindHook, ledger: Ledger, model: str, request_id: str) -> Result | None:
    """Return the result of a request that Segmind has forgotten: from the ledger, or from the history."""
    if ledger.entry is not None and ledger.entry.request_id == request_id and (result := ledger.result()) is not None:
        return result
    rows = _history(hook, request_id)
    found = result_of_row(rows[0], model=model) if rows else None
    if found is not None:
        log.info("Segmind forgot request %s, but its history knows the output", request_id)
    return found


def _history(hook: SegmindHook, request_id: str | None = None, **filters: Any) -> list[HistoryRow]:
    """Ask the history; what it does not tell, it does not know. It is the vendor's least documented part."""
    try:
        return hook.get_conn().send(calls.get_history(request_id, **filters), budget=_PER_LOOK)
    except SegmindError as error:
        log.warning("The request history cannot be asked: %s", error)
        return []
