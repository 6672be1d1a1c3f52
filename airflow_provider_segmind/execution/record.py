"""
The request record: the state of one want, its transitions, and which of several copies is right. Pure.

A *want* is one image with its parameters that a task instance, or an item of a batch, has to deliver until a try has
succeeded. Its record is kept in Airflow's task state store and, for a batch, in the manifest::

    WAITING ──intend──> INTENDED ──submitted──> SUBMITTED ──completed──> COMPLETED ──delivered──> DELIVERED ──> CLOSED
       ^                    │                       │                        │
       └────── withdraw ────┴── (failed: free) ─────┴── (output missing) ────┘        FAILED: given up in this run

* INTENDED is written before the POST leaves. Without a request id it is an *unknown outcome*: it may be billed.
* SUBMITTED and COMPLETED are paid for, or will be. Only evidence that nothing is owed leads back to WAITING.
* DELIVERED: the task has returned the result, which is not yet a success. CLOSED: Airflow has reported the success, and
  the next want begins. FAILED is used in a batch: :meth:`RequestRecord.run_again` decides what the next run does.

The store, several manifests and an event may each have a copy of the record. The copy with the higher ``counter`` is
right, not the one with the later time: clocks of two workers differ. Each try starts its counter above all earlier
tries, so a process that Airflow considers dead cannot overtake it. Counters of two owners are not compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_segmind.protocol.wire import Result

#: Distance between the counters of two tries: more than the changes in one try.
_STEP = 1000
#: Number of earlier requests that a record keeps.
_MAX_EARLIER = 10
#: Errors of a request that Segmind does not charge for.
_FREE = {"SegmindRequestFailedError", "SegmindContentBlockedError"}


class State(StrEnum):
    """The state of a want, see the module's docstring."""

    WAITING = "waiting"
    INTENDED = "intended"
    SUBMITTED = "submitted"
    COMPLETED = "completed"
    DELIVERED = "delivered"
    CLOSED = "closed"
    FAILED = "failed"


_RANK = {state: rank for rank, state in enumerate(State)}
#: States of another owner's record, in ascending order of preference.
_PREFERENCE = (
    State.CLOSED,
    State.WAITING,
    State.FAILED,
    State.INTENDED,
    State.SUBMITTED,
    State.COMPLETED,
    State.DELIVERED,
)


class RequestRecord(BaseModel):
    """
    The state of one want; also one line of a batch's manifest.

    :param key: the beginning of the fingerprint of model, parameters and gateway; not the API key.
    :param owner: the task instance that is working on it.
    :param counter: grows with every change that its owner makes.
    :param state: see :class:`State`.
    :param index: its position among the items of a batch, from 0.
    :param item: the parameters of a batch item; long texts are cut, signatures are masked.
    :param input: URI, size and hash of an input that was read from storage. They identify the request when the input
        cannot be read any more.
    :param request_id: of its request at Segmind, once it is known.
    :param intended_at: when the submit was about to be sent (epoch seconds); None if unknown.
    :param skew: seconds by which Segmind's clock was ahead of ours at that time; None if no response had a date.
    :param sent: the key of the inputs as sent: a later try may send the input in another way.
    :param mark: of this submit, see ``marks.py``.
    :param doubt: why the outcome is unknown: ``lost`` (no response), or ``error`` (a 5xx: it may be accepted).
    :param found: how the request was found in the history: by its ``intent``, or without a record (``recall``). Then it
        may be another want's with the same parameters. None if Segmind's response named it.
    :param submitted_at: when Segmind responded (epoch seconds).
    :param finished_at: when it was delivered or given up (epoch seconds).
    :param refused_at: when its output was refused (404, …) for the first time (epoch seconds).
    :param uploaded: the URL of an uploaded input, so that the next submit does not upload it again.
    :param result: the result, once it is known (cost in USD, times in seconds).
    :param stored: the stored objects, as in the XCom of an upscaling task.
    :param destination: where they are stored, before placeholders are replaced.
    :param refetched: a stored object was missing and is fetched again: the cost was reported by an earlier run.
    :param stored_by: the task instance that stored them.
    :param error: why it was given up, as :meth:`SegmindError.to_dict`.
    :param forgotten_since: since then (epoch seconds) there may be a submit of this want without a record: the store
        did not have the record in a later try, a run was killed, or the submit was given up. While it is set, each
        process searches the history before it submits.
    :param earlier: ids of requests that failed or belong to an earlier want: they are not matched with this want.
    """

    model_config = ConfigDict(defer_build=True, extra="ignore")

    version: Literal[2] = 2
    key: str
    owner: str = ""
    counter: int = 0
    state: State = State.WAITING
    index: int = 0
    item: dict[str, Any] = Field(default_factory=dict)
    input: dict[str, Any] | None = None
    request_id: str | None = None
    intended_at: float | None = None
    skew: float | None = None
    sent: str | None = None
    mark: str | None = None
    doubt: Literal["lost", "error"] | None = None
    found: Literal["intent", "recall"] | None = None
    submitted_at: float | None = None
    finished_at: float | None = None
    refused_at: float | None = None
    uploaded: str | None = None
    result: dict[str, Any] | None = None
    stored: list[dict[str, Any]] | None = None
    destination: str | None = None
    stored_by: str | None = None
    refetched: bool = False
    error: dict[str, Any] | None = None
    forgotten_since: float | None = None
    earlier: list[str] = Field(default_factory=list)

    # --- the transitions ------------------------------------------------------------------------------------

    def _becomes(self, state: State) -> None:
        self.state, self.counter = state, self.counter + 1

    def begin_try(self, owner: str, try_number: int) -> None:
        """Start a try: the counter exceeds everything that a process of an earlier try may still write."""
        self.owner, self.counter = owner, try_number * _STEP

    def intend(self, *, at: float, skew: float | None, mark: str | None = None, sent: str | None = None) -> None:
        """Record that the submit is about to be sent. The record has to be written before that."""
        self._becomes(State.INTENDED)
        self.intended_at, self.skew, self.mark, self.sent, self.doubt = at, skew, mark, sent, "lost"
        self.request_id = self.submitted_at = self.finished_at = self.refused_at = None
        self.result = self.stored = self.error = None
        self.refetched = False

    def errored(self) -> None:
        """Record that the response was a 5xx: Segmind may have accepted the submit."""
        self._becomes(State.INTENDED)
        self.doubt = "error"

    def submitted(self, request_id: str, *, at: float, found: Literal["intent", "recall"] | None = None) -> None:
        """Record the request id; ``found`` if it is from the history."""
        self._becomes(State.SUBMITTED)
        self.found = found
        self.request_id, self.submitted_at, self.doubt, self.error = request_id, at, None, None

    def completed(self, result: Result) -> None:
        """Record the result: Segmind's own record is not needed any more."""
        self._becomes(State.COMPLETED)
        self.result = result.to_xcom()

    def refused(self, *, at: float) -> None:
        """Record that the output was refused."""
        self._becomes(State.COMPLETED)
        self.refused_at = self.refused_at or at

    def delivered(
        self, stored: list[dict[str, Any]] | None, *, at: float, by: str | None = None, to: str | None = None
    ) -> None:
        """Record that the task returns the result."""
        self._becomes(State.DELIVERED)
        self.stored, self.stored_by, self.destination = stored, by, to
        self.finished_at, self.refused_at, self.error = at, None, None

    def undelivered(self) -> None:
        """Record that a stored object is missing: the output is fetched again."""
        self._becomes(State.COMPLETED if self.result else State.SUBMITTED)
        self.stored = self.finished_at = None
        self.refetched = True

    def close(self) -> None:
        """Record that Airflow has reported the success: the next try is a new want."""
        self._becomes(State.CLOSED)

    def as_of(self, new: RequestRecord) -> RequestRecord:
        """Return this record with the current item; of a CLOSED record return that of the next want."""
        if self.state is State.CLOSED:
            known = RequestRecord(key=self.key, counter=self.counter, earlier=self._all_requests())
            return known.as_of(new)
        self.index, self.item = new.index, new.item
        self.input = new.input or self.input
        return self

    def forget(self, since: float) -> None:
        """Record that there may be a submit without a record since a moment (epoch seconds)."""
        self.forgotten_since = _earliest(self.forgotten_since, since)

    def _all_requests(self) -> list[str]:
        return [*self.earlier, *([self.request_id] if self.request_id else [])][-_MAX_EARLIER:]

    def replaces(self, mine: RequestRecord) -> bool:
        """
        Return whether a want should continue with this record of another owner instead of its own.

        A delivered output can be used by all owners. A request is used instead of a new one, and also if its owner knew
        the request of this want and found that it had failed.
        """
        if self.request_id is None or self.request_id in mine.earlier:
            return False
        if self.state is State.DELIVERED:
            return mine.state is not State.DELIVERED
        return mine.request_id is None or mine.request_id in self.earlier

    def instead_of(self, mine: RequestRecord) -> RequestRecord:
        """Return a copy of this record for a want of another owner that continues with it."""
        since = None if mine.doubt is None else mine.intended_at or 0.0
        return self.model_copy(
            update={
                "owner": mine.owner,
                "counter": mine.counter,
                "forgotten_since": _earliest(mine.forgotten_since, self.forgotten_since, since),
                "earlier": [*self.earlier, *mine._all_requests()][-_MAX_EARLIER:],
            }
        )

    def withdraw(self, *, uploaded: bool = True) -> None:
        """
        Record that nothing is outstanding. ``intended_at`` stays, because it counts against a rate limit.

        :param uploaded: False to upload the input again: the request failed, perhaps because of the upload.
        """
        self._becomes(State.WAITING)
        self.earlier = self._all_requests()
        self.request_id = self.submitted_at = self.doubt = self.found = self.result = self.stored = self.refused_at = (
            None
        )
        self.uploaded = self.uploaded if uploaded else None

    def free(self) -> None:
        """
        Record that its request FAILED, which is free.

        A request that was found in the history may be another want's: then the outcome is unknown again.
        """
        found = self.found
        self.withdraw(uploaded=False)
        if found is not None:
            self.state, self.doubt = State.INTENDED, "lost" if found == "intent" else "error"
            self.intended_at = self.intended_at if found == "intent" else None

    def failed(self, error: Mapping[str, Any], *, at: float) -> None:
        """Record the error that ended the want in this run."""
        self._becomes(State.FAILED)
        self.error, self.finished_at = dict(error), at

    def run_again(self) -> None:
        """
        Prepare a FAILED record for another run.

        A billed request is fetched, not submitted again; a request that failed at Segmind was free. An unknown outcome
        stays unknown. Whether Segmind still has the request is checked later.
        """
        if self.state is not State.FAILED:
            return
        was, self.error, self.finished_at = self.error or {}, None, None
        if self.doubt is not None:
            self._becomes(State.INTENDED)
        elif self.result is not None:
            self._becomes(State.COMPLETED)
        elif self.request_id is not None and was.get("type") not in _FREE:
            self._becomes(State.SUBMITTED)
        else:
            self.withdraw(uploaded=False)

    # --- properties -----------------------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """True while something is, or may be, paid for and not yet delivered."""
        return self.state in (State.INTENDED, State.SUBMITTED, State.COMPLETED)

    @property
    def paid(self) -> bool:
        """True while something of this want is, or may be, paid for, delivered or not."""
        return self.open or self.state is State.DELIVERED

    @property
    def owed(self) -> bool:
        """True while something is, or may be, paid for and not delivered, given up in this run or not."""
        return self.open or (self.state is State.FAILED and (self.request_id is not None or self.doubt is not None))

    @property
    def moment(self) -> float:
        """The moment of the latest event (epoch seconds)."""
        return max(self.intended_at or 0.0, self.submitted_at or 0.0, self.finished_at or 0.0)

    @property
    def value(self) -> dict[str, Any]:
        """The result that a task returns."""
        return dict(self.result or {}) | ({} if self.stored is None else {"stored": self.stored})


def _earliest(*moments: float | None) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)


def newest(copies: Iterable[RequestRecord | None]) -> RequestRecord | None:
    """Return the copy with the highest counter, and of two with the same counter the one in the later state."""
    known = [record for record in copies if record is not None]
    return max(known, key=lambda record: (record.counter, _RANK[record.state])) if known else None


def right_of(
    stored: RequestRecord | None, rows: Iterable[RequestRecord | None], *, owner: str
) -> tuple[RequestRecord | None, RequestRecord | None]:
    """
    Return the record of a want, and another owner's record to use if its request fails.

    :param stored: the record in the state store.
    :param rows: the rows of the manifests with the same key. The counters of other owners are not comparable, see
        :meth:`RequestRecord.replaces`.
    :param owner: the task instance.
    """
    known = [row for row in rows if row is not None]
    mine = newest((stored, *(row for row in known if row.owner == owner)))
    known = [row for row in known if row.owner != owner]
    better = [row for row in known if mine is None or row.replaces(mine)]
    other = max(
        better or known, key=lambda row: (row.request_id is not None, _PREFERENCE.index(row.state)), default=None
    )
    if other is not None and (mine is None or other.replaces(mine)):
        mine, other = other.instead_of(mine or RequestRecord(key=other.key, owner=owner)), None
    if mine is not None:
        for row in known:
            since = _earliest(row.forgotten_since, None if row.doubt is None else row.intended_at or 0.0)
            mine.forgotten_since = _earliest(mine.forgotten_since, since)  # their submits may be unrecorded
    return mine, other
