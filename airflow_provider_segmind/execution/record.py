"""
The request record: what is known of one want, its states, and which of several witnesses is right. Pure.

A *want* is one image with its parameters that a task instance, or an item of a batch, is asked for, until a try that
really succeeded. Its record is kept in Airflow's task state store and, for a batch, in the manifest::

    WAITING ──intend──> INTENDED ──submitted──> SUBMITTED ──completed──> COMPLETED ──delivered──> DELIVERED ──> CLOSED
       ^                    │                       │                        │
       └────── withdraw ────┴── (failed: free) ─────┴── (output is gone) ────┘        FAILED: given up in this run

* INTENDED is written before the POST leaves. Without a request id it is an *unknown outcome*: it may be billed.
* SUBMITTED and COMPLETED are paid for, or will be. Nothing but proof leads from there back to WAITING.
* DELIVERED: the task returned it, which is not yet a success. CLOSED: Airflow has reported the success; the next want
  begins. FAILED is of a batch: what a next run does with it is decided by :meth:`RequestRecord.run_again`.

Several witnesses may know the same want: the store, one or several manifests, an event. The one with the higher
``counter`` is right, never the one with the later time: clocks of two workers differ. Each try begins to count where no
earlier one gets to, so a process that Airflow believes dead cannot catch up. Counters of two owners are not compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_segmind.protocol.wire import Result

#: More than one try ever counts.
_STEP = 1000
#: So many requests of earlier wants are remembered.
_EARLIER = 10
#: Errors of a request that Segmind does not charge for.
_FREE = {"SegmindRequestFailedError", "SegmindContentBlockedError"}


class State(StrEnum):
    """How far a want is, see the module's docstring."""

    WAITING = "waiting"
    INTENDED = "intended"
    SUBMITTED = "submitted"
    COMPLETED = "completed"
    DELIVERED = "delivered"
    CLOSED = "closed"
    FAILED = "failed"


_RANK = {state: rank for rank, state in enumerate(State)}
#: Of several rows of other wants, the one of the last of these states is of the most use.
_USE = (State.CLOSED, State.WAITING, State.FAILED, State.INTENDED, State.SUBMITTED, State.COMPLETED, State.DELIVERED)


class RequestRecord(BaseModel):
    """
    What is known of one want; also one line of a batch's manifest.

    :param key: the beginning of the fingerprint of model, parameters and gateway; never the key.
    :param owner: the task instance that works on it.
    :param counter: grows with every change that its owner makes.
    :param state: see :class:`State`.
    :param index: its place among a batch's items, from 0.
    :param item: a batch item's own parameters; long texts are cut, signatures are masked.
    :param input: an input that was read from storage: its URI, size and hash. By these the request is found where the
        input cannot be read any more.
    :param request_id: its Segmind request, once there is one.
    :param intended_at: when the submit was about to be sent (epoch seconds); None also where that is not known.
    :param skew: seconds by which Segmind's clock was ahead of ours then; None where no response told.
    :param sent: the key of what was sent: an input may go in another way in a later try.
    :param mark: of this submit, see ``marks.py``.
    :param doubt: how its response was lost: ``lost``, or ``error`` where it was a 5xx, which Segmind may have accepted.
    :param found: how its request was found in the history: by its ``intent``, or because nothing was remembered
        (``recall``). Then it may be another want's with the same parameters; None where Segmind's response named it.
    :param submitted_at: when Segmind responded (epoch seconds).
    :param finished_at: when it was delivered or given up (epoch seconds).
    :param refused_at: when its output was refused (404, …) for the first time (epoch seconds).
    :param uploaded: the address of an uploaded input, so that the next submit does not upload it again.
    :param result: what Segmind returned, once it is complete (cost in credits, times in seconds).
    :param stored: the stored objects, as in the XCom of an upscaling task.
    :param destination: where they were to be stored, before placeholders are filled in.
    :param refetched: what was stored has been lost: its cost was in the numbers of the run that delivered it first.
    :param stored_by: the task instance that stored them.
    :param error: why it was given up, as :meth:`SegmindError.to_dict`.
    :param forgotten_since: from then on (epoch seconds) there may be a submit of this want that no record holds: the
        store did not know it in a later try, a run was killed, or it was given up. From there on each process asks the
        history before it submits.
    :param earlier: requests that came to nothing, or were an earlier want's: none is taken for a submit of this one.
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

    def take_up(self, owner: str, try_number: int) -> None:
        """Begin a try with it: nothing that a process of an earlier try still writes counts higher."""
        self.owner, self.counter = owner, try_number * _STEP

    def intend(self, *, at: float, skew: float | None, mark: str | None = None, sent: str | None = None) -> None:
        """Note that the submit is about to be sent; written before it is."""
        self._becomes(State.INTENDED)
        self.intended_at, self.skew, self.mark, self.sent, self.doubt = at, skew, mark, sent, "lost"
        self.request_id = self.submitted_at = self.finished_at = self.refused_at = None
        self.result = self.stored = self.error = None
        self.refetched = False

    def errored(self) -> None:
        """Note that the submit was answered by a 5xx: Segmind may have accepted it all the same."""
        self._becomes(State.INTENDED)
        self.doubt = "error"

    def submitted(self, request_id: str, *, at: float, found: Literal["intent", "recall"] | None = None) -> None:
        """Note its request; ``found`` where the history named it."""
        self._becomes(State.SUBMITTED)
        self.found = found
        self.request_id, self.submitted_at, self.doubt, self.error = request_id, at, None, None

    def completed(self, result: Result) -> None:
        """Note the result: from now on Segmind's own record is not needed any more."""
        self._becomes(State.COMPLETED)
        self.result = result.to_xcom()

    def refused(self, *, at: float) -> None:
        """Note that the output was refused."""
        self._becomes(State.COMPLETED)
        self.refused_at = self.refused_at or at

    def delivered(
        self, stored: list[dict[str, Any]] | None, *, at: float, by: str | None = None, to: str | None = None
    ) -> None:
        """Note that the task returns it."""
        self._becomes(State.DELIVERED)
        self.stored, self.stored_by, self.destination = stored, by, to
        self.finished_at, self.refused_at, self.error = at, None, None

    def undelivered(self) -> None:
        """Note that what was delivered is not in storage any more: it is fetched again."""
        self._becomes(State.COMPLETED if self.result else State.SUBMITTED)
        self.stored = self.finished_at = None
        self.refetched = True

    def close(self) -> None:
        """Note that Airflow has reported the success: the next try is a new want."""
        self._becomes(State.CLOSED)

    def as_of(self, new: RequestRecord) -> RequestRecord:
        """Return it with the item that it is now; of a CLOSED one the record of the want that begins after it."""
        if self.state is State.CLOSED:
            known = RequestRecord(key=self.key, counter=self.counter, earlier=self._all_requests())
            return known.as_of(new)
        self.index, self.item = new.index, new.item
        self.input = new.input or self.input
        return self

    def forget(self, since: float) -> None:
        """Note that there may be a submit that no record holds, from a moment on (epoch seconds)."""
        self.forgotten_since = _earliest(self.forgotten_since, since)

    def _all_requests(self) -> list[str]:
        return [*self.earlier, *([self.request_id] if self.request_id else [])][-_EARLIER:]

    def replaces(self, mine: RequestRecord) -> bool:
        """
        Return whether another owner's record is of more use to a want than its own.

        What it has delivered is there for all; its request is taken instead of a new one, and where its owner knew of
        this want's request, and found that it came to nothing.
        """
        if self.request_id is None or self.request_id in mine.earlier:
            return False
        if self.state is State.DELIVERED:
            return mine.state is not State.DELIVERED
        return mine.request_id is None or mine.request_id in self.earlier

    def instead_of(self, mine: RequestRecord) -> RequestRecord:
        """Return this record of another owner for a want that goes on with it."""
        since = None if mine.doubt is None else mine.intended_at or 0.0
        return self.model_copy(
            update={
                "owner": mine.owner,
                "counter": mine.counter,
                "forgotten_since": _earliest(mine.forgotten_since, self.forgotten_since, since),
                "earlier": [*self.earlier, *mine._all_requests()][-_EARLIER:],
            }
        )

    def withdraw(self, *, uploaded: bool = True) -> None:
        """
        Note that nothing is outstanding. The moment of the intent stays: it still counts against a rate limit.

        :param uploaded: False to forget the uploaded input, too: the request failed, perhaps because of it.
        """
        self._becomes(State.WAITING)
        self.earlier = self._all_requests()
        self.request_id = self.submitted_at = self.doubt = self.found = self.result = self.stored = self.refused_at = (
            None
        )
        self.uploaded = self.uploaded if uploaded else None

    def free(self) -> None:
        """
        Note that its request FAILED, which is free.

        One that was found in the history need not be the one that was looked for: that is unknown again.
        """
        found = self.found
        self.withdraw(uploaded=False)
        if found is not None:
            self.state, self.doubt = State.INTENDED, "lost" if found == "intent" else "error"
            self.intended_at = self.intended_at if found == "intent" else None

    def failed(self, error: Mapping[str, Any], *, at: float) -> None:
        """Note that it came to nothing in this run."""
        self._becomes(State.FAILED)
        self.error, self.finished_at = dict(error), at

    def run_again(self) -> None:
        """
        Make ready for a run what an earlier one gave up.

        What Segmind charged for is fetched, not submitted again; what failed there was free. A submit whose outcome is
        unknown stays so. Whether a request is still known is asked afterwards.
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

    # --- what it says ---------------------------------------------------------------------------------------

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
        """When something happened to it last (epoch seconds)."""
        return max(self.intended_at or 0.0, self.submitted_at or 0.0, self.finished_at or 0.0)

    @property
    def value(self) -> dict[str, Any]:
        """What a task returns that has delivered it."""
        return dict(self.result or {}) | ({} if self.stored is None else {"stored": self.stored})


def _earliest(*moments: float | None) -> float | None:
    return min((moment for moment in moments if moment is not None), default=None)


def newest(witnesses: Iterable[RequestRecord | None]) -> RequestRecord | None:
    """Return which of several witnesses of one want is right; of two that count the same, the one further on."""
    known = [record for record in witnesses if record is not None]
    return max(known, key=lambda record: (record.counter, _RANK[record.state])) if known else None


def right_of(
    stored: RequestRecord | None, rows: Iterable[RequestRecord | None], *, owner: str
) -> tuple[RequestRecord | None, RequestRecord | None]:
    """
    Return the record from which a want goes on, and another owner's for when that one comes to nothing.

    :param stored: what the state store says.
    :param rows: what manifests say of the same content. Those of another owner are of another want, so their counters
        say nothing: see :meth:`RequestRecord.replaces`.
    :param owner: the task instance.
    """
    known = [row for row in rows if row is not None]
    mine = newest((stored, *(row for row in known if row.owner == owner)))
    known = [row for row in known if row.owner != owner]
    better = [row for row in known if mine is None or row.replaces(mine)]
    other = max(better or known, key=lambda row: (row.request_id is not None, _USE.index(row.state)), default=None)
    if other is not None and (mine is None or other.replaces(mine)):
        mine, other = other.instead_of(mine or RequestRecord(key=other.key, owner=owner)), None
    if mine is not None:
        for row in known:
            since = _earliest(row.forgotten_since, None if row.doubt is None else row.intended_at or 0.0)
            mine.forgotten_since = _earliest(mine.forgotten_since, since)  # that may be submitted
    return mine, other
