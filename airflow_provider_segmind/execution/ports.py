"""
The four ports of the engine: Segmind, request records, storage and clock.

In production they are a connection, Airflow's task state store, an object storage and the clock of this machine; in
``tests/simulation/`` they are a simulated world.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.execution.record import RequestRecord
from airflow_provider_segmind.protocol.wire import HistoryPage, HistoryRow, RequestStatus, Result

#: Takes the number of a body, and its request id or the error.
Responded = Callable[[int, str | SegmindError], None]

#: Takes the number of a body, and returns an error if it must not be sent any more.
MayLeave = Callable[[int], SegmindError | None]

#: Takes the number of a result, and its stored objects or the error.
Stored = Callable[[int, list[dict[str, Any]] | SegmindError | None], None]


class Segmind(Protocol):
    """Segmind, for one model and one key. Every method may raise a SegmindError."""

    @property
    def skew(self) -> float | None:
        """Seconds by which Segmind's clock is ahead of ours; None before a response had a date."""

    def open(self) -> None:
        """Do what can fail before a submit: connect, respect a known rate limit, check the balance."""

    def upload(self, content: bytes) -> str:
        """Upload an input and return its URL."""

    def mark(self) -> str | None:
        """Create a mark that is removed right before a POST leaves, see ``marks.py``; None if that is not possible."""

    def take(self, mark: str) -> bool:
        """Remove a mark, and return whether it existed: only one process can remove it."""

    def submit(self, bodies: Sequence[Mapping[str, Any]], *, may_leave: MayLeave, responded: Responded) -> None:
        """
        Submit each body once.

        :param bodies: the parameters of each.
        :param may_leave: called right before each POST leaves, in its thread.
        :param responded: called as each response arrives, in this thread; also while the task is being ended.
        """

    def status(self, request_id: str) -> RequestStatus:
        """Return the status of a request; raise SegmindRequestExpiredError if it is unknown."""

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
        """Return the row of one request of this key; None if the history does not have it."""

    def is_same(self, url: str, content: bytes) -> bool:
        """Return whether an upload URL has this content."""


class Records(Protocol):
    """The request records of one task instance."""

    #: False if nothing is kept between two tries.
    available: bool
    #: True if a record was kept that this version cannot read.
    unreadable: bool

    def read(self) -> dict[str, RequestRecord]:
        """Return the records by their keys, and set ``unreadable``."""

    def put(self, records: Iterable[RequestRecord]) -> None:
        """Write records; after that they survive the process."""

    def forget(self, records: Iterable[RequestRecord]) -> None:
        """Delete records that are kept in the manifest by now."""


class Storage(Protocol):
    """Where outputs are stored."""

    @property
    def destination(self) -> str:
        """The destination, before placeholders are replaced."""

    def store(self, results: Sequence[tuple[str, Result]], stored: Stored) -> None:
        """
        Fetch the outputs of each result, verify and store them.

        :param results: each with the key of its record.
        :param stored: called as each is done, in this thread.
        """

    def has(self, stored: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether stored objects still exist."""


class Clock(Protocol):
    """The time. The clocks of two processes may differ by minutes."""

    def now(self) -> float:
        """Return the time (epoch seconds)."""

    def sleep(self, seconds: float) -> None:
        """Wait."""
