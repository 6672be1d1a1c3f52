"""What a row of the request history shows, and what a missing row shows."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segmind.protocol.history import (
    ABSENCE_MARGIN,
    CLOCK_LIMIT,
    POST_WITHIN,
    Sought,
    assign,
    created,
    older,
    result_of_row,
    shows_absence,
)
from airflow_provider_segmind.protocol.wire import HistoryRow

NOW = 1_800_000_000.0
BODY = {"image": "https://x/cat.jpg", "scale": 2, "output_format": "png"}


def row(request_id="r", at=1.0, **fields):
    when = None if at is None else datetime.fromtimestamp(NOW + at, UTC).isoformat()
    values = {"model": "esrgan", "status": "PROCESSING", "parameters": BODY, "created_at": when}
    return HistoryRow(request_id=request_id, **{**values, **fields})


def found(rows, *sought, taken=()):
    """Return the ids of the rows that each may take."""
    options = assign(sought or [Sought(BODY, NOW)], rows, model="esrgan", taken=taken)
    return [[one.request_id for one in rows] for rows in options]


def test_a_lost_submit_is_found_by_its_inputs():
    rows = [
        row("older", at=0),
        row("newest", at=5),
        row("other-model", at=6, model="esrgan-2"),
        row("other-image", at=6, parameters={**BODY, "image": "https://x/dog.jpg"}),
        row("failed", at=6, status="FAILED"),
        row("no-inputs", at=6, parameters=None),
        row("no-time", at=None),
        row("long-ago", at=-3600),
    ]
    assert found(rows) == [["older", "newest"]]  # the nearest to the intent first
    assert found(rows, Sought(BODY, since=NOW)) == [["newest", "older"]]  # without one, the newest
    assert found(rows[2:]) == [[]]


@pytest.mark.parametrize(
    "parameters",
    [{**BODY, "seed": 7}, {"image": BODY["image"], "scale": 2}, {**BODY, "scale": 4}, {**BODY, "scale": None}, {}],
)
def test_one_parameter_more_or_less_is_another_request(parameters):
    assert found([row(parameters=parameters)]) == [[]]


def test_a_request_without_parameters_has_no_row_of_its_own():
    assert found([row(parameters={"prompt": "cat", "seed": 7})], Sought({"prompt": "cat"}, NOW)) == [[]]


def test_inputs_match_as_the_wire_may_write_them():
    as_text = {"image": BODY["image"], "scale": "2", "output_format": "png"}
    assert found([row(parameters=as_text), row("float", parameters={**BODY, "scale": 2.0})]) == [["r", "float"]]
    assert found([row(parameters={"a": "True"})], Sought({"a": True}, NOW)) == [[]]


def test_a_freshly_signed_url_matches_the_one_that_was_sent():
    one, other = ({**BODY, "image": f"https://x/cat.jpg?X-Amz-Signature={made}"} for made in ("abc", "def"))
    assert found([row(parameters=one)], Sought(other, NOW)) == [["r"]]


def test_rows_of_other_wants_are_not_taken():
    assert found([row("a", at=2), row("b", at=1)], taken={"a"}) == [["b"]]


@pytest.mark.parametrize(
    ("skew", "at", "matches"),
    [
        (None, -CLOCK_LIMIT, True),  # no response has shown the difference of the clocks
        (None, -CLOCK_LIMIT - 1, False),
        (-15.0, -15.0, True),  # Segmind's clock is 15 s behind, as a response has shown
        (-15.0, -21.0, False),
        (0.0, -15.0, False),
        (90.0, 90.0, True),
        (90.0, 80.0, False),
    ],
)
def test_the_clocks_may_differ_by_what_is_known_of_them(skew, at, matches):
    assert found([row(at=at)], Sought(BODY, NOW, skew=skew)) == [["r"] if matches else []]


@pytest.mark.parametrize(("skew", "shift"), [(None, 0.0), (-600.0, -600.0)])
def test_without_an_intent_rows_count_from_the_moment_that_is_given(skew, shift):
    """The moment is by the scheduler's clock, so a known skew leaves it uncertain; the history's response shows it."""
    rows = [row("new", at=shift - CLOCK_LIMIT + 1), row("old", at=shift - CLOCK_LIMIT - 1)]
    sought = Sought(BODY, since=NOW)
    assert found(rows, sought.heard(skew)) == [["new"]]
    assert sought.read_from <= NOW + shift - CLOCK_LIMIT
    assert Sought(BODY, NOW, skew=0.0).heard(skew).skew == 0.0  # the one at the intent is right


def test_a_row_that_is_refused_for_one_want_may_belong_to_another():
    rows, sought = [row("a", at=2), row("b", at=1)], [Sought(BODY, NOW), Sought(BODY, NOW)]
    options = assign(sought, rows, model="esrgan", taken=(), refused={(0, "a")})
    assert [[one.request_id for one in mine][:1] for mine in options] == [["b"], ["a"]]


def test_an_upload_whose_address_is_not_known_may_be_any_image_with_its_other_parameters():
    rows = [row("a", at=2), row("b", parameters={**BODY, "scale": 4}), row("c", parameters={"scale": 2})]
    unknown = {"scale": 2, "output_format": "png"}
    assert found(rows, Sought(unknown, NOW, upload=b"cat")) == [["a"]]
    assert found(rows, Sought(unknown, NOW)) == [[]]  # without an upload the row has a parameter more


# --- several at once ------------------------------------------------------------------------------------------------


def test_of_wants_with_the_same_parameters_the_latest_intent_chooses_first():
    """The earlier one may be either row, the later one only the later row."""
    early, late = Sought(BODY, NOW, skew=0.0), Sought(BODY, NOW + 60, skew=0.0)
    rows = [row("first", at=1), row("second", at=61)]
    for sought in ([early, late], [late, early]):
        options = dict(zip(map(id, sought), found(rows, *sought), strict=True))
        assert options[id(late)][0] == "second"
        assert options[id(early)] == ["first"]


def test_one_row_is_not_two_wants():
    assert sorted(map(len, found([row()], Sought(BODY, NOW), Sought(BODY, NOW)))) == [0, 1]


_BODIES = [{"prompt": "cat"}, {"prompt": "cat", "seed": 7}, {"prompt": "dog"}]
_SOUGHT = st.builds(lambda body, at, skew: Sought(body, NOW + at, skew=skew), st.sampled_from(_BODIES),
    st.sampled_from([0.0, 50.0, 100.0]), st.sampled_from([None, 0.0]))  # fmt: skip
_ROWS = st.lists(
    st.tuples(st.sampled_from(_BODIES), st.integers(-40, 140), st.sampled_from(["PENDING", "FAILED"])), max_size=5
)


@given(st.lists(_SOUGHT, max_size=4), _ROWS, st.sets(st.sampled_from("012"), max_size=2))
def test_every_row_goes_to_one_want_that_it_can_be_and_no_want_goes_without(sought, rows, taken):
    """As many wants are found as any assignment could find, whatever the order."""
    made = [row(str(n), at=at, parameters=body, status=status) for n, (body, at, status) in enumerate(rows)]
    options = assign(sought, made, model="esrgan", taken=taken)
    chosen = [rows[0].request_id for rows in options if rows]
    assert len(set(chosen)) == len(chosen)
    assert not set(chosen) & taken
    for one, rows_of_it in zip(sought, options, strict=True):
        for option in rows_of_it:
            assert option.parameters == one.body
            assert option.status != "FAILED"
            assert (created(option) or 0.0) >= one.from_
    free = [one for one in made if one.request_id not in taken]
    possible = [{one.request_id for one in free if one.parameters == want.body and want.may_be(one)} for want in sought]
    best = max(
        (
            len([1 for mine in pick if mine is not None])
            for pick in itertools.product(*[[None, *mine] for mine in possible])
            if len({mine for mine in pick if mine}) == len([mine for mine in pick if mine])
        ),
        default=0,
    )
    assert len(chosen) == best


# --- what a later row shows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skew", "at", "absent"),
    [
        (0.0, ABSENCE_MARGIN + 1, True),
        (0.0, ABSENCE_MARGIN - 1, False),  # the POST leaves within some seconds, and takes its time
        (-15.0, ABSENCE_MARGIN - 14, True),
        (15.0, ABSENCE_MARGIN + 14, False),
        (None, 3600.0, False),  # if the clocks' difference is unknown, nothing shows absence
    ],
)
def test_a_later_row_shows_that_a_submit_was_never_accepted(skew, at, absent):
    rows = [row(at=at, parameters={"prompt": "of somebody else"})]
    assert shows_absence(Sought(BODY, NOW, skew=skew), rows) is absent
    assert ABSENCE_MARGIN > POST_WITHIN


def test_an_empty_history_shows_nothing():
    assert not shows_absence(Sought(BODY, NOW, skew=0.0), [])
    assert not shows_absence(Sought(BODY, NOW, skew=0.0), [row(at=None)])
    assert not shows_absence(Sought(BODY, since=NOW, skew=0.0), [row(at=999)])  # its intent is not known


# --- what a row states ----------------------------------------------------------------------------------------------


def test_a_row_states_the_result():
    result = result_of_row(row(output="https://images/x.png", cost=0.5), model="esrgan")
    assert result is not None
    assert (result.output, result.metrics.cost, result.outputs[0].url) == ("https://images/x.png", 0.5, result.output)
    assert result_of_row(row(output=None), model="esrgan") is None


def test_a_row_without_a_time_may_be_of_any_age():
    assert older(row(at=-10), NOW)
    assert not older(row(at=None), NOW)
    assert not older(row(at=10), NOW)


def test_an_image_is_not_shown_with_what_is_searched_for():
    assert "secret" not in repr(Sought({"image": "secret"}, NOW, upload=b"secret"))
