"""The ledger of one request: what was submitted for a task instance and not yet handed over."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.compat import has_run_before, task_state_store
from airflow_provider_segmind.protocol.resume import Entry, read_entry
from airflow_provider_segmind.protocol.wire import Result

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

KEY = "segmind_request"
#: A little over the hour for which Segmind keeps a request's record; it counts from the latest write.
RETENTION = timedelta(minutes=75)
#: Seconds for which Segmind surely keeps a record: an id that is unknown earlier is not known everywhere yet.
RECORDS_LIVE = 55 * 60.0


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
        self._store: Any = task_state_store(context) if durable else None
        ti = context["ti"]
        self.run_of_tries = int(getattr(ti, "max_tries", 0) or 0)
        self.has_run_before = has_run_before(ti)
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
        return entry is not None and self._clock() - (entry.submitted_at or entry.intended_at) > RECORDS_LIVE

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
