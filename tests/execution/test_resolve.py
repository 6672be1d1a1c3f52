"""Unknown outcomes: the request history is read to its end, repeatedly, and a missing row alone shows nothing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from airflow_provider_segmind.exceptions import SegmindDownloadError, SegmindGatewayError, SegmindMalformedResponseError
from airflow_provider_segmind.execution.resolve import Outcome, read_since, resolve
from airflow_provider_segmind.protocol.history import ABSENCE_MARGIN, Sought
from airflow_provider_segmind.protocol.wire import HistoryPage, HistoryRow

NOW = 1_800_000_000.0
CAT, DOG = {"prompt": "cat"}, {"prompt": "dog"}


def row(request_id="r", at=1.0, parameters=None, **fields):
    stamp = datetime.fromtimestamp(NOW + at, UTC).isoformat()
    made = {"model": "m", "status": "PENDING", "parameters": CAT if parameters is None else parameters}
    return HistoryRow(request_id=request_id, created_at=stamp, **{**made, **fields})


class Clock:
    def __init__(self):
        self.slept = []

    def now(self):
        return NOW + sum(self.slept)

    def sleep(self, seconds):
        self.slept.append(seconds)


class History:
    """Segmind's history as a port: newest first, in pages; a row may appear late, or belong to a teammate."""

    skew = 0.0

    def __init__(self, rows, *, size=100, clock=None, late=None, foreign=(), images=None):
        self.rows = sorted(rows, key=lambda one: one.created_at, reverse=True)
        self.size, self.clock, self.late = size, clock, late or {}
        self.foreign, self.images, self.pages = set(foreign), images or {}, 0
        self.errors = []

    def history_page(self, since, number, *, all_models):
        self.pages += 1
        if self.errors:
            error = self.errors.pop(0)
            if error is not None:
                raise error
        now = self.clock.now() if self.clock else NOW
        rows = [one for one in self.rows if now >= NOW + self.late.get(one.request_id, 0)]
        shown = rows[(number - 1) * self.size : number * self.size]
        return HistoryPage(rows=list({one.request_id: one for one in shown}.values()), raw=len(shown))

    def history_row(self, request_id):
        found = [one for one in self.rows if one.request_id == request_id]
        return found[0] if found and request_id not in self.foreign else None

    def is_same(self, url, content):
        found = self.images[url]
        if isinstance(found, Exception):
            raise found
        return found == content


def search(history, *sought, timeout=0.0, taken=()):
    clock = history.clock or Clock()
    return resolve(history, clock, "m", sought or [Sought(CAT, NOW, skew=0.0)], timeout=timeout, taken=taken)


# --- reading to the end (rows 6) ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 100])
def test_the_history_is_read_to_its_end_whatever_the_size_of_a_page(size):
    rows = [row(f"r{number}", at=-number, parameters=DOG) for number in range(40)]
    assert len(read_since(History(rows, size=size), NOW - 1000, all_models=False)) == 40


def test_more_than_two_thousand_newer_rows_hide_nothing():
    rows = [row("lost", at=0), *(row(f"r{number}", at=1 + number / 1000, parameters=DOG) for number in range(2500))]
    [verdict] = search(History(rows))
    assert verdict.row is not None
    assert verdict.row.request_id == "lost"


def test_pages_with_many_rows_of_one_request_are_not_the_end():
    """A request with several outputs has a row for each: a page of a hundred rows may hold one request."""
    rows = [row("many", at=5, parameters=DOG)] * 250 + [row("lost", at=0)]
    [verdict] = search(History(rows))
    assert verdict.outcome is Outcome.FOUND


def test_reading_ends_at_what_is_older():
    rows = [row(f"r{number}", at=-1000 * number, parameters=DOG) for number in range(1000)]
    history = History(rows, size=10)
    assert len(read_since(history, NOW - 500, all_models=False)) <= 20
    assert history.pages <= 3


def test_pages_that_cannot_be_read_are_not_the_end():
    class Unreadable(History):
        def history_page(self, since, number, *, all_models):
            found = super().history_page(since, number, all_models=all_models)
            return found.model_copy(update={"rows": []}) if number == 1 else found

    assert (
        len(
            read_since(
                Unreadable([row(f"r{number}", at=-number) for number in range(8)], size=4), NOW - 99, all_models=False
            )
        )
        == 4
    )


def test_a_history_whose_pages_do_not_end_did_not_respond():
    class Stuck(History):
        def history_page(self, since, number, *, all_models):
            return super().history_page(since, 1, all_models=all_models)

    history = Stuck([row("other", parameters=DOG)])
    with pytest.raises(SegmindMalformedResponseError, match="do not end") as caught:
        read_since(history, NOW - 99, all_models=False)
    assert caught.value.retryable
    [verdict] = search(history)
    assert verdict.outcome is Outcome.NO_RESPONSE


# --- verdicts -----------------------------------------------------------------------------------------------------


def test_the_request_with_exactly_these_inputs_that_is_nearest_to_the_intent_is_the_submit():
    rows = [row("before", at=-4), row("a", at=1), row("b", at=20), row("more", at=0, parameters={**CAT, "seed": 7})]
    [verdict] = search(History(rows))
    assert (verdict.outcome, verdict.row.request_id) == (Outcome.FOUND, "a")
    [verdict] = search(History(rows), taken={"a"})
    assert verdict.row.request_id == "before"
    [verdict] = search(History(rows), Sought(CAT, since=NOW - 99))  # without an intent the newest
    assert verdict.row.request_id == "b"


def test_two_lost_submits_of_a_batch_are_not_crossed():
    """One has a parameter more: each gets its own row, whichever was searched for first."""
    more = {**CAT, "seed": 7}
    history = History([row("more", at=1, parameters=more), row("plain", at=0)])
    wants = [Sought(CAT, NOW, skew=0.0), Sought(more, NOW, skew=0.0)]
    for order in (wants, wants[::-1]):
        found = dict(zip([one.key for one in order], search(history, *order), strict=True))
        assert found[wants[0].key].row.request_id == "plain"
        assert found[wants[1].key].row.request_id == "more"


def test_a_later_row_shows_that_it_was_never_accepted():
    [verdict] = search(History([row("later", at=ABSENCE_MARGIN + 1, parameters=DOG)]))
    assert verdict.outcome is Outcome.NEVER_ACCEPTED
    [verdict] = search(History([row("soon", at=1, parameters=DOG)]))
    assert verdict.outcome is Outcome.NOT_SHOWN


@pytest.mark.parametrize("skew", [-15.0, 90.0])
def test_a_clock_difference_is_taken_into_account(skew):
    """Segmind's clock is 15 s behind: its row is older than the intent, by ours."""
    [verdict] = search(History([row(at=skew + 1)]), Sought(CAT, NOW, skew=skew))
    assert verdict.outcome is Outcome.FOUND


def test_rows_can_appear_late():
    clock = Clock()
    [verdict] = search(History([row()], clock=clock, late={"r": 12}), timeout=30)
    assert verdict.outcome is Outcome.FOUND
    assert sum(clock.slept) == pytest.approx(15)


def test_the_search_ends_after_the_time_that_is_given():
    clock = Clock()
    [verdict] = search(History([], clock=clock), timeout=20)
    assert verdict.outcome is Outcome.NOT_SHOWN
    assert sum(clock.slept) == pytest.approx(20)
    history = History([])
    search(history)
    assert history.pages == 1


def test_the_last_search_counts():
    clock = Clock()
    history = History([], clock=clock)
    history.errors = [SegmindGatewayError("in trouble"), None]
    assert search(history, timeout=1)[0].outcome is Outcome.NOT_SHOWN
    history.errors = [None, SegmindGatewayError("in trouble")]
    [verdict] = search(history, timeout=1)
    assert verdict.outcome is Outcome.NO_RESPONSE
    assert isinstance(verdict.error, SegmindGatewayError)


# --- whose it is ----------------------------------------------------------------------------------------------------


def test_a_teammates_request_is_not_ours():
    rows = [row("theirs", at=3), row("ours", at=1)]
    [verdict] = search(History(rows, foreign={"theirs"}))
    assert verdict.row.request_id == "ours"
    [verdict] = search(History(rows[:1], foreign={"theirs"}))
    assert verdict.outcome is Outcome.NOT_SHOWN


def test_a_teammates_later_request_shows_absence_unless_it_may_be_ours():
    """A row of ours may temporarily not be found by its id: with the same parameters it shows nothing."""
    [verdict] = search(History([row("theirs", at=ABSENCE_MARGIN + 9, parameters=DOG)], foreign={"theirs"}))
    assert (verdict.outcome, verdict.foreign) == (Outcome.NEVER_ACCEPTED, False)
    [verdict] = search(History([row("theirs", at=ABSENCE_MARGIN + 9)], foreign={"theirs"}))
    assert (verdict.outcome, verdict.foreign) == (Outcome.NOT_SHOWN, True)


def test_an_upload_is_known_by_the_image_that_was_uploaded():
    rows = [row(name, at=number, parameters={"scale": 2, "image": f"https://u/{name}"})
            for number, name in enumerate(["a", "b", "c"])]  # fmt: skip
    history = History(rows, images={"https://u/a": b"dog", "https://u/b": b"cat", "https://u/c": b"dog"})
    [verdict] = search(history, Sought({"scale": 2}, since=NOW - 99, upload=b"cat"))
    assert verdict.row.request_id == "b"
    [verdict] = search(history, Sought({"scale": 2}, since=NOW - 99, upload=b"bird"))
    assert verdict.outcome is Outcome.NOT_SHOWN


def test_two_uploads_each_find_their_own():
    """A row that does not match one upload may still match the other."""
    rows = [row(name, at=number, parameters={"image": f"https://u/{name}"}) for number, name in enumerate("ab")]
    history = History(rows, images={"https://u/a": b"cat", "https://u/b": b"dog"})
    for order in ((b"cat", b"dog"), (b"dog", b"cat")):
        verdicts = search(history, *(Sought({}, since=NOW - 99, upload=image) for image in order))
        found = {image: verdict.row.request_id for image, verdict in zip(order, verdicts, strict=True) if verdict.row}
        assert found == {b"cat": "a", b"dog": "b"}


def test_an_upload_takes_no_row_from_a_want_whose_address_is_known():
    history = History([row("a", at=0, parameters={"image": "https://u/a"})], images={"https://u/a": b"cat"})
    known, unknown = Sought({"image": "https://u/a"}, since=NOW - 99), Sought({}, since=NOW - 99, upload=b"dog")
    for order in ((known, unknown), (unknown, known)):
        found = dict(zip([one.key for one in order], search(history, *order), strict=True))
        assert found[known.key].outcome is Outcome.FOUND
        assert found[unknown.key].outcome is Outcome.NOT_SHOWN


def test_an_upload_that_cannot_be_read_is_not_taken_for_another_image():
    history = History([row(parameters={"image": "https://u/a"})], images={"https://u/a": SegmindDownloadError("500")})
    [verdict] = search(history, Sought({}, since=NOW - 99, upload=b"cat"))
    assert verdict.outcome is Outcome.NO_RESPONSE
