"""
A batch of pictures as data: one row a picture, what a next run does with each, and how many are submitted next.

Pure. The rows are the manifest (JSON Lines); those that are open also lie in the ledger, so that a killed process
loses none.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.protocol.answers import without_signature
from airflow_provider_segmind.protocol.events import Event, read
from airflow_provider_segmind.protocol.resume import fingerprint
from airflow_provider_segmind.protocol.wire import is_url

#: Characters of the fingerprint that name a picture within its batch.
_KEY = 20
#: Seconds of a rate limit's window: Segmind's limits are per minute.
_WINDOW = 60.0
#: Characters of a parameter's value that a manifest shows; a picture as text would be megabytes.
_SHOWN = 300


class State(StrEnum):
    """How far a picture is."""

    WAITING = "waiting"  # nothing was sent yet, or what was sent failed in an earlier run
    INTENDED = "intended"  # about to be sent; without an answer it may be billed
    RUNNING = "running"  # submitted: its request is known
    STORED = "stored"
    FAILED = "failed"


class Row(BaseModel):
    """
    One picture of a batch, and one line of its manifest.

    :param key: names it: the beginning of the fingerprint of model, parameters and gateway.
    :param index: its place among the items, from 0.
    :param item: its own parameters; long texts are cut.
    :param state: see :class:`State`.
    :param request_id: its Segmind request, once there is one.
    :param intended_at: when the submit was about to be sent (epoch seconds).
    :param submitted_at: when Segmind answered it (epoch seconds).
    :param finished_at: when it was stored or given up (epoch seconds).
    :param result: what Segmind answered, where it is complete (``cost`` in credits and the three times in seconds
        are among its ``metrics``).
    :param stored: the objects, as in the XCom of an upscaling task.
    :param stored_by: the task instance that stored it.
    :param error: what went wrong, as :meth:`SegmindError.to_dict`.
    :param lost: how often its submit was lost and given up.
    """

    model_config = ConfigDict(defer_build=True, extra="ignore")

    key: str
    index: int = 0
    item: dict[str, Any] = Field(default_factory=dict)
    state: State = State.WAITING
    request_id: str | None = None
    intended_at: float | None = None
    submitted_at: float | None = None
    finished_at: float | None = None
    result: dict[str, Any] | None = None
    stored: list[dict[str, Any]] | None = None
    stored_by: str | None = None
    error: dict[str, Any] | None = None
    lost: int = 0

    def failed(self, error: Mapping[str, Any], *, at: float) -> None:
        """Note that it came to nothing in this run."""
        self.state, self.error, self.finished_at = State.FAILED, dict(error), at

    def run_again(self) -> None:
        """
        Make ready for a run what an earlier one left.

        Stored stays stored. What Segmind charged for is fetched, not submitted again; what failed there was free. A
        submit without an answer stays in doubt. Whether a request is still known is asked afterwards.
        """
        if self.state is not State.FAILED:
            return
        told = self.error or {}
        if self.request_id is None and told.get("type") == "SegmindAnswerLostError":
            self.state = State.INTENDED
        elif self._can_be_fetched(told):
            self.state = State.RUNNING
        else:
            self.reset()
        self.error = self.finished_at = None

    def _can_be_fetched(self, told: Mapping[str, Any]) -> bool:
        kind = told.get("type")
        if self.result is not None:
            gone = kind == "SegmindDownloadError" and told.get("status") in (404, 410)
            return not gone and kind != "SegmindRequestExpiredError"  # the latter: a base64 output without its record
        return bool(self.request_id) and kind not in _FREE

    @property
    def open(self) -> bool:
        """True while something is, or may be, paid for and not yet fetched."""
        return self.state in (State.INTENDED, State.RUNNING)

    def submitted(self, request_id: str, *, at: float) -> None:
        """Note its request."""
        self.state, self.request_id, self.submitted_at = State.RUNNING, request_id, at

    def reset(self) -> None:
        """Forget its request: it is to be submitted (again). When it was sent last still counts as a submit."""
        self.state, self.result = State.WAITING, None
        self.request_id = self.submitted_at = None

    @property
    def moment(self) -> float:
        """When something happened to it last (epoch seconds)."""
        return max(self.intended_at or 0.0, self.submitted_at or 0.0, self.finished_at or 0.0)


#: Errors of a request that Segmind did not charge for.
_FREE = {"SegmindRequestFailedError", "SegmindContentBlockedError"}


def digest_of(keys: Iterable[str]) -> str:
    """Return what tells one set of pictures from another."""
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:_KEY]


def key_of(model: str, body: Mapping[str, Any], gateway: str) -> str:
    """Return the name of a picture within its batch: the same parameters have the same."""
    return fingerprint(model, body, gateway)[:_KEY]


def shown(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item as a manifest shows it: long texts are cut, and what signs a URL is left out."""
    return {name: _shown(value) for name, value in item.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return _short(value)
    if isinstance(value, Mapping):
        return {str(name): _shown(inner) for name, inner in value.items()}
    return [_shown(inner) for inner in value] if isinstance(value, list | tuple) else value


def _short(value: str) -> str:
    if is_url(value):
        value = without_signature(value)
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}… ({len(value)} chars)"


# --- the manifest -----------------------------------------------------------------------------------------------


def write_manifest(rows: Iterable[Row]) -> str:
    """Return the rows as JSON Lines."""
    return "".join(row.model_dump_json(exclude_none=True) + "\n" for row in rows)


def read_manifest(text: str, *, where: str) -> dict[str, Row]:
    """
    Return the rows by their keys; keys of a row that this version does not know are ignored.

    :raises SegmindConfigError: a line cannot be read: what is paid for would be forgotten.
    """
    rows = {}
    for number, line in enumerate(text.split("\n"), 1):  # no splitlines(): a text may hold a line separator
        if not line.strip():
            continue
        try:
            row = Row.model_validate_json(line)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            raise SegmindConfigError(
                f"manifest {where}, line {number}: {'.'.join(map(str, fault['loc']))} {fault['msg']}",
                next_step="Correct the line, or remove the manifest: then everything is submitted, and paid, anew.",
            ) from None
        rows[row.key] = row
    return rows


# --- the next wave ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """
    How fast a batch may go.

    :param requests_per_minute: submits in any minute; None for no limit.
    :param max_in_flight: requests that are submitted and not yet finished.
    """

    requests_per_minute: int | None
    max_in_flight: int

    def wave(self, rows: Sequence[Row], now: float) -> int:
        """Return how many pictures may be submitted now."""
        waiting, open_ = _count(rows, State.WAITING), _count(rows, State.RUNNING)
        room = max(0, min(waiting, self.max_in_flight - open_))
        return room if self.requests_per_minute is None else min(room, self._left(rows, now))

    def next_wave(self, rows: Sequence[Row], now: float) -> tuple[float, int]:
        """
        Return when the next wave may start (epoch seconds), and how many of the open requests have to be done by then.

        A wave is worth a worker only if it is as large as the limit, or half of what may be in flight.
        """
        waiting, open_ = _count(rows, State.WAITING), _count(rows, State.RUNNING)
        if not waiting:
            return now, open_
        worth = min(waiting, self.requests_per_minute or waiting, max(1, self.max_in_flight // 2))
        done = max(0, worth - (self.max_in_flight - open_))
        if self.requests_per_minute is None or self._left(rows, now) >= worth:
            return now, done
        return max(self._recent(rows, now)) + _WINDOW, done

    def _left(self, rows: Sequence[Row], now: float) -> int:
        return max(0, (self.requests_per_minute or 0) - len(self._recent(rows, now)))

    @staticmethod
    def _recent(rows: Sequence[Row], now: float) -> list[float]:
        sent = (row.intended_at or row.submitted_at or 0.0 for row in rows)  # also what was lost or refused
        return [at for at in sent if at > now - _WINDOW]


def _count(rows: Iterable[Row], state: State) -> int:
    return sum(1 for row in rows if row.state is state)


# --- what travels between trigger and task ----------------------------------------------------------------------


class Memory(BaseModel):
    """
    What a run knows beyond its rows.

    :param started_at: when it began (epoch seconds).
    :param reused: how many pictures were there already.
    :param halted: the error that ended the submits, if one did: only what is open is waited for.
    :param items: which pictures it is about, as a digest of their keys; '' where the first versions wrote it.
    :param moved_at: when something was submitted, stored or failed last (epoch seconds).
    """

    model_config = ConfigDict(defer_build=True, extra="ignore")

    started_at: float
    reused: int = 0
    items: str = ""
    moved_at: float = 0.0
    halted: dict[str, Any] | None = None


class Waited(BaseModel):
    """
    One request of a batch as it travels: with the event that ended it, or open.

    :param key: the picture's.
    """

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)

    key: str
    request_id: str
    submitted_at: float
    event: Annotated[Event, Field(discriminator="kind")] | None = None


class BatchEvent(BaseModel):
    """
    Enough of a batch's requests have ended, or the next wave may start.

    :param waited: all requests that the trigger waited for.
    :param error: what kept the trigger from waiting, if anything did.
    :param memory: what the task knew when it deferred, handed back.
    """

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)

    version: Literal[1] = 1
    kind: Literal["batch"] = "batch"
    waited: list[Waited]
    error: dict[str, Any] | None = None
    memory: Memory


def read_batch_event(payload: Any) -> BatchEvent:
    """
    Read the event of a batch's trigger.

    :raises SegmindEventError: it is missing, or of another kind or version.
    """
    return read(_EVENT, payload, None)


_EVENT: TypeAdapter[BatchEvent] = TypeAdapter(BatchEvent)


# --- what a task hands on ---------------------------------------------------------------------------------------


def summary(rows: Sequence[Row], *, since: float, reused: int) -> dict[str, Any]:
    """
    Return a batch in a few numbers, small enough for XCom whatever its size.

    :param since: when the run began (epoch seconds): what was finished earlier is not in its cost.
    :param reused: how many of the stored pictures were there already.
    """
    done = sorted((row for row in rows if row.result and (row.finished_at or 0.0) >= since), key=lambda row: row.moment)
    metrics = [(row.result or {}).get("metrics") or {} for row in done]
    errors = Counter(str((row.error or {}).get("type")) for row in rows if row.state is State.FAILED)
    return {
        "total": len(rows),
        "stored": _count(rows, State.STORED),
        "reused": reused,
        "failed": len(rows) - _count(rows, State.STORED),
        "errors": dict(errors.most_common(20)),
        "metrics": {
            "cost": round(sum(found.get("cost") or 0.0 for found in metrics), 6),
            "remaining_credits": metrics[-1].get("remaining_credits") if metrics else None,
        },
    }
