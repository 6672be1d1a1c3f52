"""The engine's port to Segmind (one model over one connection), and its clock."""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_provider_segmind.exceptions import (
    SegmindDownloadError,
    SegmindError,
    SegmindForbiddenHostError,
    SegmindInsufficientCreditsError,
    SegmindOutputError,
    SegmindRateLimitedError,
    SegmindRequestExpiredError,
)
from airflow_provider_segmind.execution import marks
from airflow_provider_segmind.execution.balance import balance_of
from airflow_provider_segmind.execution.ports import MayLeave, Responded
from airflow_provider_segmind.execution.submit import opens_at
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.polling.limit_file import read_limit, write_limit
from airflow_provider_segmind.polling.loop import is_refusal
from airflow_provider_segmind.protocol.lifetimes import AT_ONCE
from airflow_provider_segmind.protocol.wire import HistoryPage, HistoryRow, RequestStatus, Result, SubmittedRequest
from airflow_provider_segmind.retry_budget import ONCE, RetryBudget

log = logging.getLogger(__name__)

_ROWS = 100
#: Seconds after which the history is asked again for a request that it does not have.
_SECOND_QUERY_AFTER = 0.5
_HISTORY_BUDGET = RetryBudget(attempts=2, seconds=5.0)


def check_balance(hook: SegmindHook, least: float | None) -> None:
    """
    Raise SegmindInsufficientCreditsError if the balance is too low.

    :param hook: the connection.
    :param least: credits; None for the connection's ``min_remaining_credits``, if set.
    """
    least = hook.settings.min_remaining_credits if least is None else least
    if least is None:
        return
    balance = balance_of(hook)
    if balance < least:
        raise SegmindInsufficientCreditsError(
            f"the balance is {balance:g} credits, min_remaining_credits is {least:g}: nothing was submitted"
        )


@contextmanager
def _paid_for() -> Iterator[None]:
    """Make a refusal retryable: the request is paid for, so another try has to ask for it again."""
    try:
        yield
    except SegmindError as error:
        if is_refusal(error) and not isinstance(error, SegmindRequestExpiredError):
            error.retryable = True
        raise


@dataclass(frozen=True)
class SegmindModel:
    """
    One model, see :class:`~airflow_provider_segmind.execution.ports.Segmind`.

    :param hook: the connection.
    :param model: the slug.
    :param workflow: the slug is that of a workflow.
    :param min_remaining_credits: submit nothing while the balance is lower (credits); None for the connection's value.
    """

    hook: SegmindHook
    model: str
    workflow: bool = False
    min_remaining_credits: float | None = None

    @property
    def skew(self) -> float | None:
        """Seconds by which Segmind's clock is ahead."""
        return self.hook.get_conn().skew

    def open(self) -> None:
        """Check the rate limit that another task of this machine has met and the balance, and connect."""
        if until := read_limit(self.hook.settings.gateway, self.hook.segmind_conn_id):
            reset_at = datetime.fromtimestamp(until, UTC)
            raise SegmindRateLimitedError("another task on this machine was refused by it", reset_at=reset_at)
        check_balance(self.hook, self.min_remaining_credits)
        self.hook.get_conn().connect()

    def upload(self, content: bytes) -> str:
        """Upload an input."""
        [url] = self.hook.upload([content])
        log.info("Uploaded the input (%d bytes)", len(content))
        return url

    def mark(self) -> str | None:
        """Create a mark."""
        return marks.make()

    def take(self, mark: str) -> bool:
        """Remove a mark, and return whether it existed."""
        return marks.take(mark)

    def submit(self, bodies: Sequence[Mapping[str, Any]], *, may_leave: MayLeave, responded: Responded) -> None:
        """Submit the bodies in parallel."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="segmind-submit") as pool:
            futures = {pool.submit(self._submit, number, body, may_leave): number for number, body in enumerate(bodies)}
            unread = dict(futures)
            try:
                for future in as_completed(futures):
                    responded(unread.pop(future), self._response(future))
            finally:
                for future, number in unread.items():  # the task is being ended, but these are paid for
                    try:
                        responded(number, self._response(future))
                    except Exception:
                        log.exception("The response to submit %d could not be written", number)

    def _submit(self, number: int, body: Mapping[str, Any], may_leave: MayLeave) -> SubmittedRequest:
        if (why := may_leave(number)) is not None:
            raise why
        return self.hook.submit(self.model, body, workflow=self.workflow, budget=ONCE)

    def _response(self, future: Future[SubmittedRequest]) -> str | SegmindError:
        try:
            return future.result().request_id
        except SegmindRateLimitedError as error:
            now = time.time()
            if error.wait_seconds(now):
                write_limit(self.hook.settings.gateway, self.hook.segmind_conn_id, opens_at(error, now))
            return error
        except SegmindError as error:
            return error

    def status(self, request_id: str) -> RequestStatus:
        """Return the status of a request."""
        with _paid_for():
            return self.hook.get_status(request_id)

    def result(self, request_id: str) -> Result:
        """Return the result of a request."""
        with _paid_for():
            return self.hook.get_result(request_id, model=self.model)

    def history_page(self, since: float, number: int, *, all_models: bool) -> HistoryPage:
        """Return one page of the history."""
        return self.hook.get_history_page(
            model=None if all_models else self.model,
            from_date=datetime.fromtimestamp(since, UTC).date(),
            page=number,
            per_page=_ROWS,
            budget=_HISTORY_BUDGET,
        )

    def history_row(self, request_id: str) -> HistoryRow | None:
        """Return the row of one request; None after a second 404."""
        for pause in (_SECOND_QUERY_AFTER, 0.0):
            try:
                page = self.hook.get_history_page(request_id, budget=_HISTORY_BUDGET)
            except SegmindRequestExpiredError:
                time.sleep(pause)
            else:
                return next((row for row in page.rows if row.request_id == request_id), None)
        return None

    def is_same(self, url: str, content: bytes) -> bool:
        """Return whether an upload URL has this content; raise SegmindDownloadError if it cannot be read."""
        try:
            fetched = self.hook.get_conn().download(url, io.BytesIO(), max_bytes=len(content), budget=_HISTORY_BUDGET)
        except (SegmindDownloadError, SegmindForbiddenHostError):
            raise
        except SegmindOutputError:  # it has more bytes
            return False
        return fetched.sha256 == hashlib.sha256(content).hexdigest()


class SystemClock:
    """The clock of this machine."""

    def now(self) -> float:
        """Return the time (epoch seconds)."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
