"""Submit a wave of a batch. With ``submit_once.py`` the only place where money is spent."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from airflow_provider_segmind import telemetry
from airflow_provider_segmind.exceptions import (
    SegmindAnswerLostError,
    SegmindError,
    SegmindInvalidRequestError,
    SegmindMalformedAnswerError,
    SegmindRateLimitedError,
    SegmindRequestError,
    SegmindRequestExpiredError,
    SegmindRequestFailedError,
    SegmindServerError,
)
from airflow_provider_segmind.hooks.gate import note_closed
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.ledger.batch import BatchLedger
from airflow_provider_segmind.ledger.entry import RECORDS_LIVE, RETENTION
from airflow_provider_segmind.ledger.history import Sought, recall, search
from airflow_provider_segmind.operators.submit_once import (
    LIMIT_WITHOUT_RESET,
    SUBMIT_BUDGET,
    respect_the_balance,
    respect_the_limit,
)
from airflow_provider_segmind.protocol.batch import Row, State
from airflow_provider_segmind.protocol.events import error_from_dict
from airflow_provider_segmind.protocol.wire import RequestState, SubmittedRequest

log = logging.getLogger(__name__)

#: Submits under way at once: as many as the client has connections. So many may be in doubt after a kill.
_AT_ONCE = 4
#: What is wrong with one picture, and says nothing of the others. A 500 often is a parameter's fault.
_ITS_OWN = (SegmindInvalidRequestError, SegmindRequestError, SegmindServerError)


@dataclass(eq=False)
class Picture:
    """
    One picture of a batch at work.

    :param body: the parameters as they are sent.
    :param name: its file's name, without extension.
    :param row: how far it is.
    """

    body: dict[str, Any] = field(repr=False)
    name: str
    row: Row


@dataclass
class Wave:
    """
    The submits of one stretch of a batch.

    :param hook: talks to Segmind.
    :param ledger: told of each intention before its submit leaves, and of each request right after its answer.
    :param model: the slug.
    :param min_remaining_credits: submit nothing while the balance is below this; None to take the connection's.
    :param closed_until: set where a rate limit was met: when it resets (epoch seconds).
    :param limited: the rate limit that was met, if one was.
    :param halted: set where an error ended the submits that concerns them all.
    """

    hook: SegmindHook
    ledger: BatchLedger
    model: str
    min_remaining_credits: float | None = None
    closed_until: float = 0.0
    limited: SegmindRateLimitedError | None = None
    halted: SegmindError | None = None

    def submit(self, pictures: Sequence[Picture]) -> None:
        """Submit these, a few at once, until all are or something speaks against more."""
        try:
            respect_the_limit(self.hook)
            respect_the_balance(self.hook, self.min_remaining_credits)
            self.hook.get_conn()  # what is wrong with the connection is said before there is an intention
        except SegmindError as error:
            self._stop(error)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="segmind-submit") as pool:
            for start in range(0, len(pictures), _AT_ONCE):
                if self.halted is not None or self.closed_until:
                    return
                group = pictures[start : start + _AT_ONCE]
                self._submit_group(pool, group)
                self._judge([picture.row for picture in group])

    def _judge(self, rows: Sequence[Row]) -> None:
        """Stop where a whole group went wrong in the same way: then it is not the pictures."""
        errors = [row.error or {} for row in rows]
        if len(rows) < _AT_ONCE:
            return
        if all(row.state is State.INTENDED for row in rows):
            self._stop(SegmindAnswerLostError("the answers to a whole group of submits were lost"))
        elif all(error.get("type") == "SegmindServerError" for error in errors):
            self._stop(error_from_dict(errors[0]))

    def _submit_group(self, pool: ThreadPoolExecutor, group: Sequence[Picture]) -> None:
        now = time.time()
        for picture in group:
            picture.row.state, picture.row.intended_at = State.INTENDED, now
        self.ledger.write(picture.row for picture in group)
        futures = {
            pool.submit(self.hook.submit, self.model, picture.body, budget=SUBMIT_BUDGET): picture.row
            for picture in group
        }
        unread = dict(futures)
        try:
            for future in as_completed(futures):
                self._answered(unread.pop(future), future)
        finally:
            for future, row in unread.items():  # the task is being ended: what is answered is paid for
                self._answered(row, future)

    def _answered(self, row: Row, future: Future[SubmittedRequest]) -> None:
        try:
            row.submitted(future.result().request_id, at=time.time())
        except (SegmindAnswerLostError, SegmindMalformedAnswerError) as error:
            log.warning("Picture %d: %s", row.index, error)  # it stays intended: the history will tell
        except _ITS_OWN as error:
            row.reset()
            row.failed(error.to_dict(), at=time.time())
            log.warning("Picture %d: %s", row.index, error)
        except SegmindError as error:
            row.reset()
            self._stop(error)
        self.ledger.write([row])

    def _stop(self, error: SegmindError) -> None:
        if not isinstance(error, SegmindRateLimitedError):
            self.halted = error
            log.error("No more is submitted: %s", error)
            return
        now = time.time()
        reset = error.wait_seconds(now)
        self.limited = error
        self.closed_until = max(self.closed_until, now + (LIMIT_WITHOUT_RESET if reset is None else reset))
        if reset:
            note_closed(self.hook.settings.gateway, self.hook.segmind_conn_id, now + reset)


def settle(
    hook: SegmindHook,
    model: str,
    pictures: Sequence[Picture],
    *,
    on_lost_submit: Literal["fail", "resubmit"],
    patience: float,
) -> None:
    """
    Find out what became of submits whose answer is not known.

    Nothing is submitted here: what is to be submitted again, once, is waiting afterwards.

    :param on_lost_submit: what to do with a submit that the history does not show.
    :param patience: seconds for which the history is searched again and again: rows can appear late.
    """
    doubtful = [picture for picture in pictures if picture.row.state is State.INTENDED]
    if not doubtful:
        return
    log.info("Looking for %d submit(s) whose answer is not known in the history", len(doubtful))
    sought = [Sought(picture.body, picture.row.intended_at or 0.0) for picture in doubtful]
    known = {picture.row.request_id for picture in pictures if picture.row.request_id}
    again = on_lost_submit == "resubmit"
    try:
        found = search(hook, model, sought, patience=patience, taken=known, must_answer=again)
    except SegmindError:
        found, again = [None] * len(doubtful), False  # a history that does not answer does not say "not there"
    for picture, there in zip(doubtful, found, strict=True):
        row = picture.row
        if there is not None:
            row.submitted(there.request_id, at=row.intended_at or time.time())
        elif again and not row.lost:
            row.reset()
            row.lost += 1
        else:
            lost = _lost(model, row, patience)
            telemetry.ended_badly(model, lost, one_of_many=True, submitted_at=row.intended_at)
            row.failed(lost.to_dict(), at=time.time())


def find_again(
    hook: SegmindHook, model: str, pictures: Sequence[Picture], *, besides: Collection[str], patience: float
) -> None:
    """
    Find in the history what an earlier try submitted and nothing remembers: there is no state store before Airflow 3.3.

    :param besides: request ids that are known: what became of them says the manifest.
    :param patience: seconds for which the history is searched again and again: rows can appear late.
    :raises SegmindError: the history does not answer, which is not "not there".
    """
    waiting = [picture for picture in pictures if picture.row.state is State.WAITING]
    if not waiting:
        return
    log.warning(
        "There is no ledger to read here: looking for an earlier try's requests (%d) in the history", len(waiting)
    )
    since = time.time() - RETENTION.total_seconds()
    sought = [Sought(picture.body, since) for picture in waiting]
    found = search(hook, model, sought, patience=patience, taken=besides, must_answer=True)
    for picture, there in zip(waiting, found, strict=True):
        if there is not None:
            picture.row.submitted(there.request_id, at=time.time())
    log.info("The history knows %d of them: nothing is billed anew", sum(there is not None for there in found))


def refresh(hook: SegmindHook, model: str, pictures: Sequence[Picture]) -> None:
    """Ask for requests that are so old that Segmind may have forgotten them: by their record, or by the history."""
    oldest = time.time() - RECORDS_LIVE
    for picture in pictures:
        row = picture.row
        if row.state is not State.RUNNING or row.result is not None or (row.submitted_at or 0.0) > oldest:
            continue
        try:
            _refresh(hook, model, row)
        except SegmindRequestFailedError:
            row.reset()  # it was free
        except SegmindRequestExpiredError as error:
            log.warning("%s It is submitted, and paid, anew", error)
            row.reset()
        except SegmindError as error:
            log.warning("Request %s: %s", row.request_id, error)  # not known now: it stays open


def _refresh(hook: SegmindHook, model: str, row: Row) -> None:
    request_id = row.request_id or ""
    try:
        status = hook.get_status(request_id)
    except SegmindRequestExpiredError as gone:
        hook.get_history(request_id)  # raises where it does not answer, which is not "not there"
        if result := recall(hook, gone, model=model):
            telemetry.completed(result, one_of_many=True, submitted_at=row.submitted_at)
            row.result = result.to_xcom()
    else:
        if status.state is RequestState.FAILED:
            raise status.failure()


def _lost(model: str, row: Row, patience: float) -> SegmindAnswerLostError:
    when = datetime.fromtimestamp(row.intended_at or 0.0, UTC).isoformat(timespec="seconds")
    return SegmindAnswerLostError(
        f"{model} at {when}; the request history does not show it after {patience:g} s",
        next_step="Another try searches again. Look into the account's request history; if it is not there, clear the "
        'task with on_lost_submit="resubmit". A second submit of one that runs is a second bill.',
    )
