"""The waves of a batch as data: how many wants are submitted next, and what the trigger returns to the task. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from airflow_provider_segmind.execution.record import RequestRecord, State
from airflow_provider_segmind.protocol.events import Event, read
from airflow_provider_segmind.protocol.identity import KEY_LENGTH
from airflow_provider_segmind.protocol.redaction import with_masked_signatures

#: Seconds of a rate limit's window: Segmind's limits are per minute.
_WINDOW = 60.0
#: Characters of a parameter's value in a manifest: an image in base64 would be megabytes.
_SHOWN = 300
#: Characters; a longer text is not a URL, and masking takes time.
_MAX_SIGNED = 10_000
#: Submitted and not yet delivered.
IN_FLIGHT = (State.SUBMITTED, State.COMPLETED)


def digest_of(keys: Iterable[str]) -> str:
    """Return a digest that identifies a set of wants."""
    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:KEY_LENGTH]


def shown(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item as a manifest has it: long texts are cut, signatures of URLs are masked."""
    return {name: _shown(value) for name, value in item.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return _short(value)
    if isinstance(value, Mapping):
        return {str(name): _shown(inner) for name, inner in value.items()}
    return [_shown(inner) for inner in value] if isinstance(value, list | tuple) else value


def _short(value: str) -> str:
    if len(value) <= _MAX_SIGNED:
        value = with_masked_signatures(value)
    return value if len(value) <= _SHOWN else f"{value[:_SHOWN]}… ({len(value)} chars)"


# --- the next wave ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """
    How fast a batch may submit.

    :param requests_per_minute: submits in any minute; None for no limit.
    :param max_in_flight: requests that are submitted and not yet delivered.
    """

    requests_per_minute: int | None
    max_in_flight: int

    def wave(self, rows: Sequence[RequestRecord], now: float) -> int:
        """Return how many requests may be submitted now."""
        waiting, open_ = count(rows, State.WAITING), count(rows, *IN_FLIGHT)
        room = max(0, min(waiting, self.max_in_flight - open_))
        return room if self.requests_per_minute is None else min(room, self._left(rows, now))

    def next_wave(self, rows: Sequence[RequestRecord], now: float) -> tuple[float, int]:
        """
        Return when the next wave may start (epoch seconds), and how many open requests have to be completed by then.

        A wave starts a worker only if it is as large as the rate limit, or as half of ``max_in_flight``.
        """
        waiting, open_ = count(rows, State.WAITING), count(rows, *IN_FLIGHT)
        if not waiting:
            return now, open_
        worth = min(waiting, self.requests_per_minute or waiting, max(1, self.max_in_flight // 2))
        done = max(0, worth - (self.max_in_flight - open_))
        if self.requests_per_minute is None or self._left(rows, now) >= worth:
            return now, done
        return max(self._recent(rows, now)) + _WINDOW, done

    def _left(self, rows: Sequence[RequestRecord], now: float) -> int:
        return max(0, (self.requests_per_minute or 0) - len(self._recent(rows, now)))

    @staticmethod
    def _recent(rows: Sequence[RequestRecord], now: float) -> list[float]:
        sent = (row.intended_at or row.submitted_at or 0.0 for row in rows)  # includes lost and refused submits
        return [at for at in sent if at > now - _WINDOW]


def count(rows: Iterable[RequestRecord], *states: State) -> int:
    """Return how many are in one of these states."""
    return sum(1 for row in rows if row.state in states)


# --- data that the trigger receives and returns -----------------------------------------------------------------


class Memory(BaseModel):
    """
    What a run has to know after a deferral, besides its rows.

    :param started_at: when it began (epoch seconds).
    :param reused: number of outputs that were stored already.
    :param halted: the error that ended the submits, if any: then the run only waits for its open requests.
    :param items: the wants, as a digest of their keys.
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
    One request of a batch with the event that ended it; without an event while it is open.

    :param key: the request record's.
    """

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)

    key: str
    request_id: str
    submitted_at: float
    event: Annotated[Event, Field(discriminator="kind")] | None = None


class BatchEvent(BaseModel):
    """
    The event of a batch's trigger: enough requests have ended, or the next wave may start.

    :param waited: all requests that the trigger waited for.
    :param error: what kept the trigger from waiting, if anything did.
    :param memory: as the task passed it to the trigger.
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


# --- the result of the task -------------------------------------------------------------------------------------


def summary(rows: Sequence[RequestRecord], *, since: float, reused: int) -> dict[str, Any]:
    """
    Return the numbers of a batch; they fit into XCom whatever its size.

    :param rows: the records of all wants.
    :param since: start of the run (epoch seconds): the cost of earlier deliveries is not included.
    :param reused: number of outputs that were stored already.
    """
    done = [row for row in rows if row.result and not row.refetched and (row.finished_at or 0.0) >= since]
    metrics = [(row.result or {}).get("metrics") or {} for row in sorted(done, key=lambda row: row.moment)]
    errors = Counter(str((row.error or {}).get("type")) for row in rows if row.state is State.FAILED)
    return {
        "total": len(rows),
        "stored": count(rows, State.DELIVERED),
        "reused": reused,
        "failed": len(rows) - count(rows, State.DELIVERED),
        "errors": dict(errors.most_common(20)),
        "metrics": {
            "cost": round(sum(found.get("cost") or 0.0 for found in metrics), 6),
            "remaining_credits": metrics[-1].get("remaining_credits") if metrics else None,
        },
    }
