"""The run of a batch: load the records, submit in waves, store the outputs, and write the manifest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from airflow_provider_segmind import telemetry
from airflow_provider_segmind.exceptions import (
    SegmindBatchError,
    SegmindConfigError,
    SegmindError,
    SegmindRateLimitedError,
    SegmindStorageError,
    SegmindTimeoutError,
)
from airflow_provider_segmind.execution.claim import Claims
from airflow_provider_segmind.execution.engine import Engine
from airflow_provider_segmind.execution.ports import Storage
from airflow_provider_segmind.execution.record import RequestRecord, State
from airflow_provider_segmind.execution.submit import opens_at
from airflow_provider_segmind.execution.want import Want
from airflow_provider_segmind.execution.waves import (
    IN_FLIGHT,
    BatchEvent,
    Limits,
    Memory,
    Waited,
    count,
    digest_of,
    summary,
)
from airflow_provider_segmind.protocol.events import error_from_dict

log = logging.getLogger(__name__)

#: Seconds after the last request's deadline for which the claim of a process that died holds.
_CLAIM_MARGIN = 300.0
#: Seconds; a rate limit is waited out for at least this long: limits are per minute.
_LEAST_TIMEOUT = 300.0


class Folder(Protocol):
    """The folder of a batch, see :class:`~airflow_provider_segmind.execution.manifest.BatchFolder`."""

    @property
    def manifest(self) -> str:
        """URI of the manifest."""

    claims: Claims
    damaged: bool

    @property
    def has_manifest(self) -> bool:
        """True if this task's own manifest exists."""

    def names(self) -> Mapping[str, int]:
        """Return the names of the objects in the folder, with their sizes in bytes."""

    def read(self, names: Iterable[str]) -> list[dict[str, RequestRecord]]:
        """Return the rows of all manifests among these names by their keys."""

    def write(self, rows: Sequence[RequestRecord]) -> None:
        """Write the manifest."""

    def probe(self) -> None:
        """Make sure that the folder can be written."""

    def mark_missing(self, wants: Sequence[Want], names: Mapping[str, int]) -> None:
        """Mark stored outputs that are missing or have another size."""


@dataclass(frozen=True)
class BatchRules:
    """
    What the author of a DAG decides about a batch; see the operator.

    :param owner: the task instance.
    :param execution_timeout: seconds for the whole batch; None for no limit.
    :param check_number: called with the number of wants that are not stored yet.
    :param closing: called with the batch in numbers before it ends, well or not.
    """

    model: str
    owner: str
    limits: Limits
    timeout: float
    max_failures: int = 0
    execution_timeout: float | None = None
    check_number: Callable[[int], None] = lambda number: None
    closing: Callable[[dict[str, Any]], None] = lambda value: None


@dataclass(frozen=True)
class Deferred:
    """
    The batch waits for its open requests.

    :param need: how many have to have ended before the next wave.
    :param resume_at: when the next wave may start (epoch seconds).
    :param deadline: the latest deadline of a request (epoch seconds).
    """

    waited: list[Waited]
    need: int
    resume_at: float
    deadline: float
    memory: Memory


class BatchRun:
    """
    The run of a batch in one process, until it defers or ends.

    :param engine: the engine.
    :param folder: where manifest and claim lie.
    :param storage: where outputs go.
    :param rules: what the author decides.
    :param wants: the wants, each once.
    """

    def __init__(
        self, engine: Engine, folder: Folder, storage: Storage, rules: BatchRules, wants: Sequence[Want]
    ) -> None:
        self._engine, self._folder, self._storage, self._rules = engine, folder, storage, rules
        self.wants = wants

    @property
    def rows(self) -> list[RequestRecord]:
        """The records of all wants."""
        return [want.record for want in self.wants]

    @property
    def _limited(self) -> SegmindRateLimitedError | None:
        stopped = self._engine.stopped
        return stopped if isinstance(stopped, SegmindRateLimitedError) else None

    def run(self, event: BatchEvent | None) -> Deferred | dict[str, Any]:
        """
        Go on until the batch has to wait, or ends: then return it in numbers.

        The claim ends with every exit but a deferral, unless what is paid for cannot be written down.

        :param event: what ended the wait; None where the task starts.
        :raises SegmindBatchError: more failed than ``max_failures`` allows.
        :raises SegmindError: what ended the submits.
        """
        now, items = self._engine.clock.now(), digest_of(row.key for row in self.rows)
        claim = self._folder.claims.take(
            items=items, until=now + self._rules.timeout + _CLAIM_MARGIN, now=now, goes_on=event is not None
        )
        deferred = written = False
        try:
            memory = self._begin(now, items) if event is None else self._resume(event)
            self._work(memory, begins=event is None)
            written = True
            if self._goes_on(memory):
                deferred = True
                return self._defer(memory)
            return self._close(memory)
        finally:
            if not deferred:
                self._leave(written=written, is_new=event is None and claim.killed_since is None)

    def _leave(self, *, written: bool, is_new: bool) -> None:
        """
        End the claim. Errors in here are logged, so that the error that ended the run is the one that is raised.

        :param written: the manifest states what this run knows to be paid for.
        :param is_new: nothing was submitted before this process.
        """
        loaded = all(want.loaded for want in self.wants)
        complete = written or (is_new and not loaded)
        try:
            if not written and loaded:
                self._folder.write(self.rows)
                complete = True
        except (SegmindError, OSError) as error:
            log.warning("The manifest could not be written, so the next run searches the history: %s", error)
        try:
            self._folder.claims.end(now=self._engine.clock.now(), manifest_is_complete=complete)
        except (SegmindError, OSError) as error:
            log.warning("The claim could not be ended: %s", error)

    def _begin(self, now: float, items: str) -> Memory:
        """Load the records of earlier tries and runs."""
        names = self._folder.names()
        manifests = self._folder.read(names)
        killed_since = 0.0 if self._folder.damaged else self._folder.claims.killed_since(names, now)
        self._engine.load_records(self.wants, *manifests, killed_since=killed_since)
        for want in self.wants:
            want.record.run_again()
        self._engine.log_earlier(self.wants)
        self._folder.mark_missing(self.wants, names)
        missing = len(self.wants) - count(self.rows, State.DELIVERED)
        self._rules.check_number(missing)
        return Memory(
            started_at=now,
            reused=len(self.wants) - missing,
            items=items,
            moved_at=now,
        )

    def _resume(self, event: BatchEvent) -> Memory:
        """Go on after a deferral, in another process."""
        if not self._folder.has_manifest:
            raise SegmindStorageError(
                f"the manifest {self._folder.manifest} was removed while the batch was running",
                next_step="Restore it. Or clear the task: then finished items are submitted, and billed, again.",
                retryable=False,
            )
        if event.memory.items != digest_of(row.key for row in self.rows):
            raise SegmindConfigError(
                "the items are not the same as before the deferral: their templates rendered to other values",
                next_step="Create the items in an upstream task. The submitted requests are in the manifest "
                f"{self._folder.manifest}.",
            )
        self._engine.load_records(self.wants, *self._folder.read(self._folder.names()), begins=False)
        if event.error is not None:
            raise error_from_dict(event.error)
        by_key = {want.record.key: want for want in self.wants}
        for waited in event.waited:
            if (known := by_key.get(waited.key)) is None:
                continue
            if known.record.state in (State.WAITING, State.INTENDED):  # the event is the only record
                known.record.submitted(waited.request_id, at=waited.submitted_at)
            if waited.event is not None:
                self._engine.ended(known, waited.event)
        return event.memory

    def _work(self, memory: Memory, *, begins: bool) -> None:
        """Store the ended requests, submit the next wave, and write the manifest."""
        self._engine.prepare(self.wants)
        if begins and count(self.rows, State.WAITING):
            self._folder.probe()
        self._engine.deliver(self.wants, self._storage, by=self._rules.owner)
        self._submit(memory)
        for want in self.wants:
            if want.error is not None and want.record.state is not State.FAILED:
                self._fail(want, want.error)
        self._keep_moving(memory)
        self._folder.write(self.rows)
        self._engine.records.forget(row for row in self.rows if not row.owed)
        found = [f"{number} {state}" for state in State if (number := count(self.rows, state))]
        log.info("Batch of %s: %s", self._rules.model, ", ".join(found))

    def _submit(self, memory: Memory) -> None:
        """Submit as many as the limits allow now."""
        now = self._engine.clock.now()
        limit = self._rules.execution_timeout
        if limit is not None and now > memory.started_at + limit:
            late = SegmindTimeoutError(
                "execution_timeout ended before all items were submitted",
                next_step="Another try submits the missing items. Allow a longer execution_timeout.",
            )
            memory.halted = memory.halted or late.to_dict()
        size = self._rules.limits.wave(self.rows, now)
        waiting = [want for want in self.wants if want.record.state is State.WAITING and want.error is None]
        if memory.halted is None and size and waiting:
            self._engine.submit(waiting[:size])
            if self._engine.stopped is not None and self._limited is None:
                memory.halted = self._engine.stopped.to_dict()

    def _fail(self, want: Want, error: SegmindError) -> None:
        row = want.record
        log.warning("Item %d: %s", row.index, error)
        if row.result is None:
            telemetry.ended_badly(
                self._rules.model,
                error,
                request_id=row.request_id,
                one_of_many=True,
                submitted_at=row.submitted_at or row.intended_at,
            )
        row.failed(error.to_dict(), at=self._engine.clock.now())

    def _keep_moving(self, memory: Memory) -> None:
        """Give up at a rate limit that lets nothing through."""
        now, limited = self._engine.clock.now(), self._limited
        if any(max(row.submitted_at or 0.0, row.finished_at or 0.0) > memory.moved_at for row in self.rows):
            memory.moved_at = now
        timeout = max(self._rules.timeout, _LEAST_TIMEOUT)
        if limited is not None and not count(self.rows, *IN_FLIGHT) and now > memory.moved_at + timeout:
            memory.halted = limited.to_dict()

    def _goes_on(self, memory: Memory) -> bool:
        return bool(count(self.rows, *IN_FLIGHT) or (memory.halted is None and count(self.rows, State.WAITING)))

    def _defer(self, memory: Memory) -> Deferred:
        now, rows = self._engine.clock.now(), self.rows
        running = [row for row in rows if row.state in IN_FLIGHT]
        resume_at, need = now, len(running)
        if memory.halted is None:
            resume_at, need = self._rules.limits.next_wave(rows, now)
        if self._limited is not None:
            resume_at = max(resume_at, opens_at(self._limited, now))
        waited = [
            Waited(key=row.key, request_id=row.request_id or "", submitted_at=row.submitted_at or now)
            for row in running
        ]
        deadline = max([resume_at, *(request.submitted_at + self._rules.timeout for request in waited)])
        return Deferred(waited, need, resume_at, deadline, memory)

    def _close(self, memory: Memory) -> dict[str, Any]:
        """Return the batch in numbers, or raise what ended it."""
        numbers = summary(self.rows, since=memory.started_at, reused=memory.reused)
        value = {"model": self._rules.model, "manifest": self._folder.manifest, **numbers}
        value["seconds"] = round(self._engine.clock.now() - memory.started_at, 1)
        self._rules.closing(value)
        if memory.halted is not None:
            raise error_from_dict(memory.halted)
        failed = [row for row in self.rows if row.state is State.FAILED]
        if len(failed) > self._rules.max_failures:
            raise _too_many(failed, len(self.wants), self._rules.max_failures, value)
        return value


def _too_many(failed: Sequence[RequestRecord], total: int, allowed: int, value: Mapping[str, Any]) -> SegmindBatchError:
    first = error_from_dict(failed[0].error or {})
    counts = ", ".join(f"{number} {name}" for name, number in value["errors"].items())
    return SegmindBatchError(
        f"{len(failed)} of {total} items failed, max_failures is {allowed} ({counts}); "
        f"the first, item {failed[0].index}: {first}",
        next_step=f"Manifest: {value['manifest']}. Another try, or a clear, does only what is missing.",
        retryable=any((row.error or {}).get("retryable") for row in failed),
    )
