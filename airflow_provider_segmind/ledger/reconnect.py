"""Find the request that an earlier try left behind, before anything new is submitted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_segmind.exceptions import (
    SegmindAnswerLostError,
    SegmindError,
    SegmindRequestExpiredError,
)
from airflow_provider_segmind.ledger.entry import RETENTION, Ledger
from airflow_provider_segmind.ledger.history import Sought, recover_output, search
from airflow_provider_segmind.protocol.resume import Entry, Next, created, decide, result_of_row, without_query
from airflow_provider_segmind.protocol.wire import HistoryRow, RequestState, Result

if TYPE_CHECKING:
    from airflow_provider_segmind.hooks.segmind import SegmindHook

log = logging.getLogger(__name__)


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

    :param upload: the picture where it has to be uploaded first: the body lacks it, and would match anybody's
        request in the history.
    :param signed: True where ``image`` is a presigned URL: a secret, and another one for each try.
    """

    model: str
    body: Mapping[str, Any] = field(repr=False)
    fingerprint: str
    upload: bytes | None = field(default=None, repr=False)
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
        :raises SegmindAnswerLostError: it is not found, or the history did not answer: never submitted blindly.
        """
        again = self._on_lost_submit == "resubmit"
        try:
            row = self._search(wanted, since, must_answer=again)
        except SegmindError as error:  # a history that does not answer does not say "not there"
            row, again, cause = None, False, cause or error
        if row is not None:
            log.info("The history knows the lost submit: it is request %s", row.request_id)
            self._ledger.submitted(row.request_id, at=since)
            return Attached(row.request_id, since)
        when = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")
        if again:
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

    def _without_ledger(self, wanted: Wanted) -> Found | None:
        if not self._ledger.has_run_before and not self._ledger.unreadable:
            return None
        log.warning("There is no ledger to read here: looking for an earlier try's request in the history")
        try:
            row = self._search(wanted, time.time() - RETENTION.total_seconds(), must_answer=True)
        except SegmindError as error:  # what cannot be looked up may be paid for
            raise SegmindAnswerLostError(
                f"whether an earlier try submitted {wanted.model} cannot be found out: {error}",
                next_step="Nothing was submitted now. Another try looks again; durable=False does without looking.",
                retryable=error.retryable,
            ) from error
        if row is None:
            log.info("The history shows no request of an earlier try")
            return None
        log.info("An earlier try's request is %s: nothing is billed anew", row.request_id)
        # The record of a completed one says more than its row: names of outputs, times.
        if self._state(row.request_id) is None and (result := result_of_row(row, model=wanted.model)):
            return Known(result)
        return Attached(row.request_id, created(row) or time.time())

    def _search(self, wanted: Wanted, since: float, *, must_answer: bool = False) -> HistoryRow | None:
        sought = Sought(wanted.shown, since, signed=wanted.signed, upload=wanted.upload)
        [row] = search(
            self._hook,
            wanted.model,
            [sought],
            patience=self._patience,
            sleep=self._sleep,
            must_answer=must_answer,
        )
        return row


def recover(hook: SegmindHook, ledger: Ledger, model: str, request_id: str) -> Result | None:
    """Return the result of a request that Segmind has forgotten: from the ledger, or from the history."""
    if ledger.entry is not None and ledger.entry.request_id == request_id and (result := ledger.result()) is not None:
        return result
    return recover_output(hook, model, request_id)
