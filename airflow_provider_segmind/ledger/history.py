"""Segmind's request history: where a submit is found whose answer was lost, and an output whose record is gone."""

from __future__ import annotations

import hashlib
import io
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.exceptions import (
    SegmindDownloadError,
    SegmindError,
    SegmindForbiddenHostError,
    SegmindOutputError,
    SegmindRequestExpiredError,
)
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.resume import CLOCK_SKEW, matching_rows, older, result_of_row
from airflow_provider_segmind.protocol.wire import HistoryRow, RequestState, RequestStatus, Result, is_url
from airflow_provider_segmind.retrying import RetryBudget

if TYPE_CHECKING:
    from airflow_provider_segmind.hooks.segmind import SegmindHook

log = logging.getLogger(__name__)

#: Seconds after the first look at which the history is searched again: rows can appear late.
_LOOKS = (0.0, 1.0, 3.0, 7.0, 15.0, 30.0, 60.0, 120.0, 240.0)
#: The history is read in pages of this many rows, and so many of them at most.
_ROWS, _MOST_PAGES = 100, 20
_PER_LOOK = RetryBudget(attempts=2, seconds=5.0)


@dataclass(frozen=True)
class Sought:
    """
    A submit that is looked for.

    :param body: its parameters as they were sent.
    :param since: when it was about to be sent (epoch seconds).
    :param signed: ``image`` is a presigned URL, here without its signature.
    :param upload: a picture that was uploaded to an address which nobody remembers: ``body`` has no ``image``.
    """

    body: Mapping[str, Any]
    since: float
    signed: bool = False
    upload: bytes | None = field(default=None, repr=False)


def search(
    hook: SegmindHook,
    model: str,
    sought: Sequence[Sought],
    *,
    patience: float,
    sleep: Callable[[float], None] = time.sleep,
    taken: Collection[str] = (),
    must_answer: bool = False,
) -> list[HistoryRow | None]:
    """
    Look for submits in the history, again and again until all are found.

    :param hook: asks Segmind.
    :param model: the slug of all of them.
    :param sought: what is looked for.
    :param patience: seconds for which it is looked for: rows can appear late.
    :param taken: request ids that belong to somebody else already.
    :param must_answer: raise where the history could not be asked, instead of taking that for "not there".
    :return: for each its row, or None; no row twice.
    """
    owned, compared = set(taken), dict[str, bool]()
    found: list[HistoryRow | None] = [None] * len(sought)
    unasked: SegmindError | None = None
    looked = 0.0
    for at in (*(look for look in _LOOKS if look < patience), patience):
        sleep(max(0.0, at - looked))
        looked = at
        unasked = None
        try:
            for rows in _pages_since(hook, model, min(item.since for item in sought)):
                for number, item in enumerate(sought):
                    free = [row for row in rows if row.request_id not in owned] if found[number] is None else []
                    matches = matching_rows(free, model=model, body=item.body, since=item.since, signed=item.signed)
                    match = next((row for row in matches if _has_picture(hook, row, item.upload, compared)), None)
                    if match is not None:
                        found[number] = match
                        owned.add(match.request_id)
                if all(found):
                    return found
        except SegmindError as error:
            log.warning("The request history cannot be asked: %s", error)
            unasked = error
    if unasked is not None and must_answer:
        raise unasked
    return found


def _has_picture(hook: SegmindHook, row: HistoryRow, upload: bytes | None, compared: dict[str, bool]) -> bool:
    """
    Tell whether a request is about a picture whose upload has no known address: by what was uploaded for it.

    :param upload: the picture; None where the row's inputs have told already.
    :param compared: what this search has found out so far, by the request id.
    """
    if upload is None:
        return True
    if row.request_id not in compared:
        url = (row.parameters or {}).get("image")
        compared[row.request_id] = isinstance(url, str) and is_url(url) and _is_at(hook, url, upload)
    return compared[row.request_id]


def _is_at(hook: SegmindHook, url: str, upload: bytes) -> bool:
    try:
        there = hook.get_conn().download(url, io.BytesIO(), max_bytes=len(upload), budget=_PER_LOOK)
    except (SegmindDownloadError, SegmindForbiddenHostError):  # not known is not "another picture"
        raise
    except SegmindOutputError:  # it is larger
        return False
    return there.sha256 == hashlib.sha256(upload).hexdigest()


def _pages_since(hook: SegmindHook, model: str, since: float) -> Iterator[list[HistoryRow]]:
    """Read the history from its newest row back to a moment (epoch seconds), a page at a time."""
    day = datetime.fromtimestamp(since - CLOCK_SKEW, UTC).date()
    for page in range(1, _MOST_PAGES + 1):
        call = calls.get_history(model=model, from_date=day, page=page, per_page=_ROWS)
        rows = hook.get_conn().send(call, budget=_PER_LOOK)
        yield rows
        if len(rows) < _ROWS or all(older(row, since) for row in rows):
            return


def recover_output(hook: SegmindHook, model: str, request_id: str) -> Result | None:
    """Return the result of a request whose record is gone, as far as the history tells it."""
    rows = history(hook, request_id)
    found = result_of_row(rows[0], model=model) if rows else None
    if found is not None:
        log.info("Segmind forgot request %s, but its history knows the output", request_id)
    return found


def history(hook: SegmindHook, request_id: str) -> list[HistoryRow]:
    """Ask the history; what it does not tell, it does not know. It is the vendor's least documented part."""
    try:
        return hook.get_conn().send(calls.get_history(request_id), budget=_PER_LOOK)
    except SegmindError as error:
        log.warning("The request history cannot be asked: %s", error)
        return []


def recall(hook: SegmindHook, error: SegmindRequestExpiredError, *, model: str) -> Result | None:
    """
    Ask the history about a request whose record is gone, where no ledger remembers it: in another task or DAG.

    :param hook: asks Segmind.
    :param error: says that the record is gone, and names the request.
    :param model: slug of the request's model, to stand in the result.
    :return: the result; None where the history says that the request is still on its way.
    :raises SegmindRequestFailedError: the history says that it FAILED.
    :raises SegmindRequestExpiredError: the history does not know it either, or not its output.
    """
    request_id = error.request_id or ""
    rows = history(hook, request_id)
    row = rows[0] if rows else None
    status = (row.status or "").upper() if row else ""
    if row is not None and status == RequestState.FAILED:
        raise RequestStatus(request_id=request_id, state=RequestState.FAILED, error=row.error or "").failure()
    if row is not None and (found := result_of_row(row, model=model or row.model or "")) is not None:
        log.info("Segmind forgot request %s, but its history knows the output", request_id)
        return found
    if status == "PENDING":
        return None
    raise SegmindRequestExpiredError(
        f"the request history does not know {'its output' if row else 'it'} either",
        request_id=request_id,
        next_step="Check the request id. A record lives for one hour; a new submit is billed anew.",
    ) from error
