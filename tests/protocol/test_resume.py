"""What a next try does with what an earlier one left: the whole table, and the search for a lost submit."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segmind.protocol.resume import (
    Entry,
    Next,
    decide,
    fingerprint,
    matching_rows,
    read_entry,
    result_of_row,
)
from airflow_provider_segmind.protocol.wire import HistoryRow

NOW = 1_800_000_000.0
BODY = {"image": "https://x/cat.jpg", "scale": 2, "output_format": "png"}


def entry(**fields):
    return Entry(**{"fingerprint": "f", "run_of_tries": 2, "intended_at": NOW, **fields})


@pytest.mark.parametrize(
    ("left", "expected"),
    [
        (None, Next.SUBMIT),
        (entry(), Next.SEARCH),
        (entry(run_of_tries=1), Next.SEARCH),
        (entry(request_id="r"), Next.LOOK),
        (entry(request_id="r", run_of_tries=1), Next.LOOK),  # cleared while it was outstanding
        (entry(request_id="r", result={"x": 1}), Next.LOOK),
        (entry(request_id="r", handed_over={"x": 1}), Next.TAKE),
        (entry(request_id="r", handed_over={"x": 1}, run_of_tries=1), Next.SUBMIT),  # cleared after it had succeeded
        (entry(request_id="r", handed_over="r"), Next.TAKE),
        (entry(fingerprint="other"), Next.SUBMIT),
        (entry(fingerprint="other", request_id="r"), Next.SUBMIT),
        (entry(fingerprint="other", request_id="r", handed_over={"x": 1}), Next.SUBMIT),
    ],
)
def test_the_table(left, expected):
    step, why = decide(left, fingerprint="f", run_of_tries=2)
    assert step is expected
    assert bool(why) is (left is not None)
    if left is not None and left.request_id and step is not Next.SUBMIT:
        assert "r" in why


def test_what_is_left_behind_is_named():
    _, why = decide(entry(fingerprint="other", request_id="r-77"), fingerprint="f", run_of_tries=2)
    assert "r-77" in why
    assert "billed if it completes" in why


def test_a_fingerprint_is_of_the_inputs_only():
    assert fingerprint("m", {"a": 1, "b": 2}, "g") == fingerprint("m", {"b": 2, "a": 1}, "g")
    others = [("n", {"a": 1}, "g"), ("m", {"a": 2}, "g"), ("m", {"a": 1}, "h"), ("m", {"a": "1"}, "g")]
    assert len({fingerprint(*other) for other in others} | {fingerprint("m", {"a": 1}, "g")}) == 5


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_stored_value_is_an_entry_or_none(value):
    found = read_entry(value)
    assert found is None or isinstance(found, Entry)


def test_an_entry_survives_json_and_newer_keys():
    full = entry(request_id="r", submitted_at=NOW, uploaded="https://u", result={"a": 1}, handed_over=["x"])
    assert read_entry({**json.loads(full.model_dump_json()), "from_the_future": 1}) == full
    assert read_entry({**full.model_dump(), "version": 2}) is None


def row(request_id="r", **fields):
    values = {"model": "esrgan", "status": "PROCESSING", "parameters": BODY, "created_at": "2027-01-15T08:00:01+00:00"}
    return HistoryRow(request_id=request_id, **{**values, **fields})


def test_a_lost_submit_is_found_by_its_inputs():
    rows = [
        row("older", created_at="2027-01-15T08:00:00+00:00"),
        row("newest", created_at="2027-01-15T08:00:05+00:00"),
        row("other-model", model="esrgan-2", created_at="2027-01-15T08:00:06+00:00"),
        row("other-picture", parameters={**BODY, "image": "https://x/dog.jpg"}, created_at="2027-01-15T08:00:06+00:00"),
        row("failed", status="FAILED", created_at="2027-01-15T08:00:06+00:00"),
        row("no-inputs", parameters=None, created_at="2027-01-15T08:00:06+00:00"),
        row("no-time", created_at=None),
        row("long-ago", created_at="2027-01-15T07:00:00+00:00"),
    ]
    found = matching_rows(rows, model="esrgan", body=BODY, since=NOW)
    assert [match.request_id for match in found] == ["newest", "older"]
    assert matching_rows(rows[2:], model="esrgan", body=BODY, since=NOW) == []


def test_inputs_match_as_the_wire_may_write_them():
    as_text = row(parameters={"image": BODY["image"], "scale": "2", "output_format": "png", "extra": True})
    assert matching_rows([as_text], model="esrgan", body=BODY, since=NOW) == [as_text]
    assert matching_rows([row(parameters={"a": "True"})], model="esrgan", body={"a": True}, since=NOW) == []


def test_a_row_tells_the_result():
    found = result_of_row(row(output="https://images/x.png", cost=0.5), model="esrgan")
    assert found is not None
    assert (found.output, found.metrics.cost, found.outputs[0].url) == ("https://images/x.png", 0.5, found.output)
    assert result_of_row(row(output=None), model="esrgan") is None
