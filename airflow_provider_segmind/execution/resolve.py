"""Resolve unknown outcomes: search the request history for submits whose responses were lost."""

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

#: Seconds after the first search at which the history is searched again: rows may appear late.
_SEARCHES = (0.0, 1.0, 3.0, 7.0, 15.0, 30.0, 60.0, 120.0, 240.0)
#: Pages that are read at most; a history with more pages counts as one that did not respond.
_MAX_PAGES = 1000
#: Equal pages in succession at most: the rows of one request may fill a few.
_MAX_REPEATS = 10


class Outcome(StrEnum):
    """What the history shows of a submit."""

    FOUND = "found"
    NEVER_ACCEPTED = "never accepted"  # a later row shows it
    NOT_SHOWN = "not shown"  # the history responded, but may be late
    NO_RESPONSE = "no response"


@dataclass(frozen=True)
class Verdict:
    """
    What the history shows of one submit.

    :param outcome: whether it was found.
    :param row: its row, if it was found.
    :param foreign: there is a row with the same parameters that appears to be another key's, which may be wrong.
    :param error: why the history did not respond.
    """

    outcome: Outcome
    row: HistoryRow | None = None
    foreign: bool = False
    error: SegmindError | None = None


def resolve(
    segmind: Segmind, clock: Clock, model: str, sought: Sequence[Sought], *, timeout: float, taken: Collection[str]
) -> list[Verdict]:
    """
    Search the history for submits until each is found or known not to exist, or the time is over.

    :param segmind: port to the model at Segmind.
    :param clock: port to the time.
    :param model: the slug.
    :param sought: the submits.
    :param timeout: seconds for which the search is repeated; 0 to search once.
    :param taken: ids of requests that belong to other wants.
    :return: a verdict of the last search for each submit.
    """
    searched = 0.0
    verdicts: list[Verdict] = []
    before: list[HistoryRow] | None = None
    for at in dict.fromkeys((*(at for at in _SEARCHES if at < timeout), timeout)):
        if at > searched:
            clock.sleep(at - searched)
        searched = at
        try:
            all_models = any(one.absent_from is not None for one in sought)  # any later request shows absence
            rows = read_since(segmind, min(one.read_from for one in sought), all_models=all_models)
            if rows != before or any(verdict.foreign for verdict in verdicts):
                verdicts = _verdicts(segmind, model, sought, rows, taken)
            before = rows
        except SegmindError as error:
            log.warning("The request history did not respond: %s", error)
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
    Return whether a row is a request of this key, with the image that was uploaded.

    In a team the list also has the requests of other members; only the owner of a request can get its row by its id
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
    Return all rows of the history since a moment, each request once.

    Pages may be smaller than requested, and have several rows of one request: only an empty page, or one whose rows are
    all older, is the end.

    :param segmind: port to the model at Segmind.
    :param since: the moment (epoch seconds, Segmind's clock).
    :param all_models: False for the rows of the model only.
    :raises SegmindMalformedResponseError: the pages do not end.
    """
    rows: dict[str, HistoryRow] = {}
    before, repeats = None, 0
    for number in range(1, _MAX_PAGES + 1):
        page = segmind.history_page(since, number, all_models=all_models)
        if not page.raw or (page.rows and all(older(row, since) for row in page.rows)):
            return list(rows.values())
        repeats = repeats + 1 if page == before else 0
        if repeats > _MAX_REPEATS:
            break  # the page number is ignored
        rows.update({row.request_id: row for row in page.rows if row.request_id not in rows})
        before = page
    raise SegmindMalformedResponseError("the pages of the request history do not end", retryable=True)
