"""
What a next try does with what an earlier one left behind. Pure: an entry and the present in, a decision out.

Segmind has no idempotency key, so this is the rule that keeps a picture from being paid for twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from airflow_provider_segmind.protocol.wire import HistoryRow, Metrics, OutputFile, RequestState, Result

#: Seconds by which Segmind's clock may be behind ours when a row is looked for since an intention.
CLOCK_SKEW = 10.0


class Entry(BaseModel):
    """
    What is known of a task instance's request. It grows: intended, submitted, finished, handed over.

    :param fingerprint: of model, parameters and gateway; never the key.
    :param run_of_tries: Airflow's ``max_tries``, which grows when a user clears the task and stays on a retry.
    :param intended_at: when the submit was about to be sent (epoch seconds).
    :param request_id: once Segmind answered.
    :param submitted_at: when it did (epoch seconds).
    :param uploaded: the address of an uploaded input, so that it is not uploaded again.
    :param transport: how the input went: ``upload``, ``data`` or ``presign``; a presigned URL itself is never kept.
    :param result: the result once it is known: it outlives Segmind's record of the request.
    :param handed_over: what the task returned, or was about to.
    """

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)

    version: Literal[1] = 1
    fingerprint: str
    run_of_tries: int
    intended_at: float
    request_id: str | None = None
    submitted_at: float | None = None
    uploaded: str | None = None
    transport: str | None = None
    result: dict[str, Any] | None = None
    handed_over: Any = None


class Next(StrEnum):
    """What the next try does first."""

    SUBMIT = "submit"
    TAKE = "take what was handed over"
    LOOK = "look at the request"
    SEARCH = "search the history for a lost submit"


def fingerprint(model: str, identity: Mapping[str, Any], gateway: str) -> str:
    """Return what tells one request from another: the same model, inputs and gateway have the same."""
    text = json.dumps([model, identity, gateway], sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def read_entry(value: Any) -> Entry | None:
    """Read an entry; None for what this version cannot read."""
    try:
        return Entry.model_validate(value)
    except ValidationError:
        return None


def decide(entry: Entry | None, *, fingerprint: str, run_of_tries: int) -> tuple[Next, str]:
    """
    Return what to do first, and why in words ('' where there is nothing to tell).

    :param entry: what the ledger holds.
    :param fingerprint: of the request that is wanted now.
    :param run_of_tries: Airflow's ``max_tries`` now.
    """
    if entry is None:
        return Next.SUBMIT, ""
    left = f"request {entry.request_id}" if entry.request_id else "a submit whose answer is not known"
    if entry.handed_over is not None and entry.run_of_tries != run_of_tries:
        return Next.SUBMIT, f"the task was cleared after it had finished with {left}: submitting anew"
    if entry.handed_over is not None and entry.fingerprint == fingerprint:
        return Next.TAKE, f"an earlier try had finished with {left}: handing over its result, nothing is billed"
    if entry.fingerprint != fingerprint:
        return (
            Next.SUBMIT,
            f"the parameters changed: {left} of an earlier try is left behind, and billed if it completes",
        )
    if entry.request_id is None:
        return Next.SEARCH, "an earlier try was about to submit, and its answer is not known"
    return Next.LOOK, f"an earlier try submitted request {entry.request_id}"


def matching_rows(
    rows: Sequence[HistoryRow], *, model: str, body: Mapping[str, Any], since: float, signed: bool = False
) -> list[HistoryRow]:
    """
    Return the rows of this model with these inputs since a moment (epoch seconds), newest first.

    Several have the same inputs, so any is right. A failed one is left out: failed work is free.

    :param signed: ``image`` is a URL without its signature, which is another one each time it is made.
    """
    found = [
        (at, row)
        for row in rows
        if row.model == model
        and (row.status or "").upper() != RequestState.FAILED
        and row.parameters is not None
        and all(
            name in row.parameters and _equal(_bare(row.parameters[name], signed and name == "image"), value)
            for name, value in body.items()
        )
        and (at := created(row)) is not None
        and at >= since - CLOCK_SKEW
    ]
    return [row for _, row in sorted(found, key=lambda pair: pair[0], reverse=True)]


def created(row: HistoryRow) -> float | None:
    """Return when a row's request was made (epoch seconds), where it says so."""
    return datetime.fromisoformat(row.created_at).astimezone(UTC).timestamp() if row.created_at else None


def older(row: HistoryRow, since: float) -> bool:
    """Tell whether a row is older than a moment (epoch seconds); one without a time may not be."""
    at = created(row)
    return at is not None and at < since - CLOCK_SKEW


def result_of_row(row: HistoryRow, *, model: str) -> Result | None:
    """Return the result that a row of the history tells, or None where it has no output."""
    if row.output is None:
        return None
    return Result(
        request_id=row.request_id,
        model=model,
        output=row.output,
        outputs=[OutputFile(url=row.output)],
        metrics=Metrics(cost=row.cost),
    )


def without_query(url: str) -> str:
    """Return a URL without its query, where a signature would stand, and without a login."""
    scheme, mark, rest = url.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


def _bare(value: Any, signed: bool) -> Any:
    return without_query(value) if signed and isinstance(value, str) else value


def _equal(there: Any, here: Any) -> bool:
    """Compare as the wire may: a number that came back as text is the same number."""
    return there == here or (not isinstance(here, bool) and str(there) == str(here))
