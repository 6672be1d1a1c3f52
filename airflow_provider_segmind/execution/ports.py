"""
The four ports of the engine.

In production they are Segmind, Airflow's task state store, a storage and the clock of this machine; in
``tests/simulation/`` they are a simulated world.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.execution.record import RequestRecord
from airflow_provider_segmind.protocol.wire import HistoryPage, HistoryRow, RequestStatus, Result

#: Takes the number of a body, and its request id or what went wrong.
Responded = Callable[[int, str | SegmindError], None]

#: Takes the number of a body, and returns why it must not be sent any more, if it must not.
MayLeave = Callable[[int], SegmindError | None]

#: Takes the number of a result, and its stored objects or what went wrong.
Stored = Callable[[int, list[dict[str, Any]] | SegmindError | None], None]


class Segmind(Protocol):
    """Segmind, for one model and one key. Every method may raise a SegmindError."""

    @property
    def skew(self) -> float | None:
        """Seconds by which Segmind's clock is ahead of ours; None where no response has told."""

    def open(self) -> None:
        """Do what can fail before a submit: connect, respect a known rate limit, check the balance."""

    def upload(self, content: bytes) -> str:
        """Upload an input and return its URL."""

    def mark(self) -> str | None:
        """Make a mark that is removed right before a POST leaves, see ``marks.py``; None where there can be none."""

    def take(self, mark: str) -> bool:
        """Remove a mark, and return whether it was there: only one process removes it."""

    def submit(self, bodies: Sequence[Mapping[str, Any]], *, may_leave: MayLeave, responded: Responded) -> None:
        """
        Submit each body once.

        :param bodies: the parameters of each.
        :param may_leave: asked right before each POST leaves, in its thread.
        :param responded: called as each response arrives, in this thread; also where the task is being ended.
        """

    def status(self, request_id: str) -> RequestStatus:
        """Return the status of a request; raise SegmindRequestExpiredError where Segmind does not know it."""

    def result(self, request_id: str) -> Result:
        """Return the result of a completed request."""

    def history_page(self, since: float, number: int, *, all_models: bool) -> HistoryPage:
        """
        Return one page of the request history, newest first.

        :param since: rows from then on (epoch seconds).
        :param number: of the page, from 1.
        :param all_models: False for the rows of the model only.
        """

    def history_row(self, request_id: str) -> HistoryRow | None:
        """Return the row of one request of this key; None where the history does not know it."""

    def is_same(self, url: str, content: bytes) -> bool:
        """Return whether this is what an upload URL holds."""


class Records(Protocol):
    """The request records of one task instance."""

    #: False where nothing is kept between two tries.
    available: bool
    #: True where something was kept that this version cannot read.
    unreadable: bool

    def read(self) -> dict[str, RequestRecord]:
        """Return the records by their keys, and set ``unreadable``."""

    def put(self, records: Iterable[RequestRecord]) -> None:
        """Write these records; when it returns they survive the process."""

    def forget(self, records: Iterable[RequestRecord]) -> None:
        """Drop records that are kept elsewhere by now."""


class Storage(Protocol):
    """Where outputs go."""

    @property
    def destination(self) -> str:
        """Where, before placeholders are filled in."""

    def store(self, results: Sequence[tuple[str, Result]], stored: Stored) -> None:
        """
        Fetch the outputs of each result, verify and store them.

        :param results: each with the key of its record.
        :param stored: called as each is done, in this thread.
        """

    def has(self, stored: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether objects that were stored are still there."""


class Clock(Protocol):
    """Time. A process that is started later has another one, which may differ by minutes."""

    def now(self) -> float:
        """Return the time (epoch seconds)."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
