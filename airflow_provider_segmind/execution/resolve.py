"""Resolve unknown outcomes: what became of submits whose responses were lost, by the request history."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_segmind.exceptions import SegmindError, SegmindMalformedResponseError
from airflow_provider_segmind.execution.ports import Clock, Segmind
from airflow_provider_segmind.protocol.history import Sought, assign, older, shows_absence
from airflow_provider_segmind.protocol.wire import HistoryRow

log = logging.getLogger(__name__)

#: Seconds after the first search at which the history is searched again: rows can appear late.
_SEARCHES = (0.0, 1.0, 3.0, 7.0, 15.0, 30.0, 60.0, 120.0, 240.0)
#: Pages of a history at most; one that does not end by then counts as one that did not answer.
_MOST_PAGES = 1000
#: Equal pages in a row at most: the rows of one request may fill a few.
_MOST_REPEATS = 10


class Outcome(StrEnum):
    """What the history says of a submit."""

    FOUND = "found"
    NEVER_ACCEPTED = "never accepted"  # a later row proves it
    NOT_SHOWN = "not shown"  # it answered, and could be late
    NO_RESPONSE = "no answer"


@dataclass(frozen=True)
class Verdict:
    """
    What the history says of one submit, with its row or with the error that kept it from answering.

    ``foreign``: there is a row with the same parameters, which does not seem to be ours. It may only seem so.
    """

    outcome: Outcome
    row: HistoryRow | None = None
    foreign: bool = False
    error: SegmindError | None = None


def resolve(
    segmind: Segmind, clock: Clock, model: str, sought: Sequence[Sought], *, timeout: float, taken: Collection[str]
) -> list[Verdict]:
    """
    Search the history for submits, again and again until each is found or proven not to exist.

    :param sought: the submits.
    :param timeout: seconds for which they are searched for; 0 to search once.
    :param taken: request ids that belong to somebody else already.
    :return: for each what the last search said.
    """
    searched = 0.0
    verdicts: list[Verdict] = []
    before: list[HistoryRow] | None = None
    for at in dict.fromkeys((*(at for at in _SEARCHES if at < timeout), timeout)):
        if at > searched:
            clock.sleep(at - searched)
        searched = at
        try:
            proof = any(one.absent_from is not None for one in sought)  # any request of the account is one
            rows = read_since(segmind, min(one.read_from for one in sought), all_models=proof)
            if rows != before or any(verdict.foreign for verdict in verdicts):
                verdicts = _verdicts(segmind, model, sought, rows, taken)
            before = rows
        except SegmindError as error:
            log.warning("The request history did not answer: %s", error)
            before, verdicts = None, [Verdict(Outcome.NO_RESPONSE, error=error)] * len(sought)
        if all(verdict.outcome in (Outcome.FOUND, Outcome.NEVER_ACCEPTED) for verdict in verdicts):
            break
    return verdicts


def _verdicts(
    segmind: Segmind, model: str, sought: Sequence[Sought], rows: Sequence[HistoryRow], taken: Collection[str]
) -> list[Verdict]:
    sought = [one.heard(segmind.skew) for one in sought]
    ours: dict[tuple[int, str], bool] = {}
    while True:
        refused = {pair for pair, found in ours.items() if not found}
        candidates = assign(sought, rows, model=model, taken=taken, refused=refused)
        chosen = {(number, options[0].request_id): options[0] for number, options in enumerate(candidates) if options}
        if chosen.keys() <= ours.keys():
            break
        ours |= {pair: _is_ours(segmind, sought[pair[0]], row) for pair, row in chosen.items() if pair not in ours}
    foreign = {number for number, _ in refused}
    return [
        _verdict(one, options, rows, number in foreign)
        for number, (one, options) in enumerate(zip(sought, candidates, strict=True))
    ]


def _verdict(sought: Sought, options: Sequence[HistoryRow], rows: Sequence[HistoryRow], foreign: bool) -> Verdict:
    if options:
        return Verdict(Outcome.FOUND, options[0])
    if foreign or any(sought.may_hide(row) for row in rows):
        return Verdict(Outcome.NOT_SHOWN, foreign=foreign)
    return Verdict(Outcome.NEVER_ACCEPTED if shows_absence(sought, rows) else Outcome.NOT_SHOWN)


def _is_ours(segmind: Segmind, sought: Sought, row: HistoryRow) -> bool:
    """
    Return whether a row is a request of this key, and about the image that was uploaded.

    Inside a team the list shows the requests of its other members too; one row by its id is only found by its owner
    (source: SDK ``segmind`` 1.3.0).
    """
    if segmind.history_row(row.request_id) is None:
        log.info("Request %s in the history belongs to another member of the team", row.request_id)
        return False
    if sought.upload is None:
        return True
    url = (row.parameters or {}).get("image")
    return isinstance(url, str) and segmind.is_same(url, sought.upload)


def read_since(segmind: Segmind, since: float, *, all_models: bool) -> list[HistoryRow]:
    """
    Return all rows of the history from a moment on (epoch seconds, Segmind's clock), each request once.

    Pages may be smaller than asked, and hold several rows of one request: only an empty page, or one whose rows are all
    older, is the end.

    :raises SegmindMalformedResponseError: the pages do not end.
    """
    rows: dict[str, HistoryRow] = {}
    before, repeats = None, 0
    for number in range(1, _MOST_PAGES + 1):
        page = segmind.history_page(since, number, all_models=all_models)
        if not page.raw or (page.rows and all(older(row, since) for row in page.rows)):
            return list(rows.values())
        repeats = repeats + 1 if page == before else 0
        if repeats > _MOST_REPEATS:
            break  # it does not turn its pages
        rows.update({row.request_id: row for row in page.rows if row.request_id not in rows})
        before = page
    raise SegmindMalformedResponseError("the pages of the request history do not end", retryable=True)
