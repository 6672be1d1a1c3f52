"""
What a row of the request history shows about a submit with an unknown outcome. Pure.

A row is the submit of a want if its model and parameters are exactly the wanted ones (Segmind lists the inputs as they
were sent; source: SDK ``segmind`` 1.3.0), it did not fail, and it is not older than the intent. That no row matches
does not show that the submit was never accepted, because rows appear late. A *later* row of the account does: rows
appear in the order of their requests, so an earlier submit would be listed.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from airflow_provider_segmind.protocol.identity import KEY_LENGTH, canonical_parameters
from airflow_provider_segmind.protocol.wire import HistoryRow, Metrics, OutputFile, RequestState, Result

#: Seconds by which two clocks may differ if no ``Date`` header has shown the difference.
CLOCK_LIMIT = 120.0
#: Seconds by which they may still differ if one has: it has whole seconds, and took some time to arrive.
_KNOWN_CLOCK_LIMIT = 5.0
#: Seconds by which the history is read further back until the difference of the clocks is known.
_UNKNOWN_CLOCK = 3600.0
#: Seconds after an intent within which its POST leaves; later it is not sent (``may_leave`` in ``execution/ports.py``).
POST_WITHIN = 5.0
#: Seconds after the intent from which another row shows absence: the POST leaves within POST_WITHIN, may have to
#: connect, and is listed in the order of its acceptance.
ABSENCE_MARGIN = POST_WITHIN + 20.0


@dataclass(frozen=True)
class Sought:
    """
    A submit that is searched for in the history.

    :param body: its parameters as they were sent.
    :param intended_at: when it was about to be sent (epoch seconds, our clock); None if unknown.
    :param since: it, or one like it, may have been sent from then on (epoch seconds, the scheduler's clock); None for
        ``intended_at``.
    :param skew: seconds by which Segmind's clock was ahead of ours; None if no response has shown it.
    :param upload: the bytes of an uploaded image whose address is unknown; ``body`` then has no ``image``.
    :param sent: the key of the inputs that were sent, if it was recorded: ``body`` may be sent differently by now.
    """

    body: Mapping[str, Any] = field(repr=False)
    intended_at: float | None = None
    since: float | None = None
    skew: float | None = None
    upload: bytes | None = field(default=None, repr=False)
    sent: str | None = None

    @property
    def from_(self) -> float:
        """The earliest moment at which a row of it can have been made (epoch seconds, Segmind's clock)."""
        moments = [] if self.since is None and self.intended_at is not None else [(self.since or 0.0) - CLOCK_LIMIT]
        if self.intended_at is not None:
            moments.append(self.intended_at - (CLOCK_LIMIT if self.skew is None else _KNOWN_CLOCK_LIMIT))
        return min(moments) + (self.skew or 0.0)

    def distance(self, row: HistoryRow) -> float:
        """Return the distance of a row from this submit: by time from the intent, or the newest first without one."""
        at = _created_or_0(row)
        return -at if self.intended_at is None else abs(at - self.intended_at - (self.skew or 0.0))

    @property
    def read_from(self) -> float:
        """The moment from which the history is read; its clock may be unknown before it responds."""
        return self.from_ if self.skew is not None else self.from_ - _UNKNOWN_CLOCK

    def heard(self, skew: float | None) -> Sought:
        """Return this submit with the skew that the history's response shows, unless the intent has shown one."""
        return replace(self, skew=skew) if self.intended_at is None else self

    @property
    def absent_from(self) -> float | None:
        """The moment from which another row shows that it was never accepted; None if no row can show that."""
        if self.intended_at is None or self.skew is None:
            return None
        return self.intended_at + self.skew + ABSENCE_MARGIN

    @property
    def key(self) -> str:
        """The key that the inputs of a row must have: with one parameter more or less it is another request."""
        return self.sent or key_of_inputs(self.body, upload=self.upload is not None)

    def may_hide(self, row: HistoryRow) -> bool:
        """Return whether a row has too little information to rule out that it is this submit."""
        at = created(row)
        return row.parameters is None and (at is None or at >= self.from_)

    def may_be(self, row: HistoryRow) -> bool:
        """Return whether a row with the same inputs may be this submit."""
        at = created(row)
        return (row.status or "").upper() != RequestState.FAILED and at is not None and at >= self.from_


def assign(
    sought: Sequence[Sought],
    rows: Sequence[HistoryRow],
    *,
    model: str,
    taken: Collection[str],
    refused: Collection[tuple[int, str]] = (),
) -> list[list[HistoryRow]]:
    """
    Return for each submit the rows that it may be, best first, such that no row is the first of two.

    Of several wants with the same parameters the one with the latest intent chooses first: its choice is the smallest.

    :param sought: the submits that are searched for.
    :param rows: the history, each request once.
    :param model: the slug of all.
    :param taken: request ids that already belong to other wants.
    :param refused: pairs of a submit's number and a request id that is known not to be its own.
    """
    owned = set(taken)
    found: list[list[HistoryRow]] = [[] for _ in sought]
    since = min((one.from_ for one in sought), default=0.0)
    ours = sorted((row for row in rows if row.model == model and row.parameters), key=_created_or_0, reverse=True)
    uploads = any(one.upload is not None for one in sought)
    by_key: dict[str, list[HistoryRow]] = defaultdict(list)
    for row in ours:
        if _created_or_0(row) >= since:
            by_key[key_of_inputs(row.parameters or {})].append(row)
            if uploads:
                by_key[_key_without_image(row.parameters or {})].append(row)
    for number in sorted(range(len(sought)), key=lambda number: sought[number].from_, reverse=True):
        one = sought[number]
        free = (
            row for row in by_key[one.key] if row.request_id not in owned and (number, row.request_id) not in refused
        )
        found[number] = sorted((row for row in free if one.may_be(row)), key=one.distance)
        owned.update(row.request_id for row in found[number][:1])
    return found


def shows_absence(sought: Sought, rows: Sequence[HistoryRow]) -> bool:
    """Return whether a history, read to its end and without this submit, shows that it was never accepted."""
    since = sought.absent_from
    return since is not None and any((created(row) or 0.0) > since for row in rows)


def created(row: HistoryRow) -> float | None:
    """Return when a row's request was made (epoch seconds, Segmind's clock), or None if the row has no time."""
    return _moment(row.created_at) if row.created_at else None


@functools.lru_cache(maxsize=4096)
def _moment(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def older(row: HistoryRow, since: float) -> bool:
    """Return whether a row is older than a moment (epoch seconds); one without a time may not be."""
    at = created(row)
    return at is not None and at < since


def result_of_row(row: HistoryRow, *, model: str) -> Result | None:
    """Return the result in a row of the history, or None if the row has no output."""
    if row.output is None:
        return None
    return Result(
        request_id=row.request_id,
        model=model or row.model or "",
        output=row.output,
        outputs=[OutputFile(url=row.output)],
        metrics=Metrics(cost=row.cost),
    )


def _created_or_0(row: HistoryRow) -> float:
    return created(row) or 0.0


def key_of_inputs(parameters: Mapping[str, Any], *, upload: bool = False) -> str:
    """Return the key of inputs. Segmind may return a number as text, so both have the same key."""
    plain = {"image from": "upload" if upload else "body", **_plain(canonical_parameters(parameters))}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]


def _key_without_image(parameters: Mapping[str, Any]) -> str:
    return key_of_inputs({name: value for name, value in parameters.items() if name != "image"}, upload=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if value is None or isinstance(value, bool) else str(value)
