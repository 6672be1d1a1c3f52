"""The request record: its transitions, what a next run makes of what another gave up, and which witness is right."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_provider_segmind.execution.record import RequestRecord, State, newest, right_of
from airflow_provider_segmind.protocol.wire import Metrics, Result

NOW, HOUR = 1_800_000_000.0, 3600.0
RESULT = Result(request_id="r", model="esrgan", output="https://x.example/a.png", metrics=Metrics(cost=0.1))


def record(**fields):
    return RequestRecord(**{"key": "k", **fields})


def failed(kind, *, age=60.0, **fields):
    """Return a record that another run gave up with such an error."""
    left = record(submitted_at=NOW - age, **fields)
    left.failed({"type": kind, "detail": "what happened"}, at=NOW)
    return left


def through(*steps):
    """Return a record after these steps of its life."""
    made = record()
    for step in steps:
        STEPS[step](made)
    return made


STEPS = {
    "intend": lambda one: one.intend(at=NOW, skew=0.2),
    "error": lambda one: one.errored(),
    "submitted": lambda one: one.submitted("r", at=NOW + 1),
    "completed": lambda one: one.completed(RESULT),
    "refused": lambda one: one.refused(at=NOW + 5),
    "delivered": lambda one: one.delivered([{"uri": "mem://a"}], at=NOW + 9, by="d r t"),
    "undelivered": lambda one: one.undelivered(),
    "close": lambda one: one.close(),
    "withdraw": lambda one: one.withdraw(),
    "failed": lambda one: one.failed({"type": "SegmindTimeoutError"}, at=NOW + 9),
    "again": lambda one: one.run_again(),
}
#: The states from which the engine takes a step.
FROM = {
    "intend": {State.WAITING},
    "error": {State.INTENDED},
    "submitted": {State.WAITING, State.INTENDED},  # the latter by an event, where nothing else is remembered
    "completed": {State.SUBMITTED, State.COMPLETED},
    "refused": {State.COMPLETED},
    "delivered": {State.COMPLETED},
    "undelivered": {State.DELIVERED},
    "close": {State.SUBMITTED, State.COMPLETED, State.DELIVERED},
    "again": set(State),
}
ALL = ("intend", "submitted", "completed", "delivered")


# --- one witness --------------------------------------------------------------------------------------------------


def test_the_life_of_a_request():
    states = [through(*ALL[:number]).state for number in range(5)]
    assert states == [State.WAITING, State.INTENDED, State.SUBMITTED, State.COMPLETED, State.DELIVERED]
    assert through(*ALL, "close").state is State.CLOSED
    assert [through(*ALL[:number]).open for number in range(5)] == [False, True, True, True, False]


def test_the_result_of_a_task_that_has_delivered():
    value = through(*ALL).value
    assert value == {**RESULT.to_xcom(), "stored": [{"uri": "mem://a"}]}
    assert "stored" not in through("intend", "submitted", "completed").value


@pytest.mark.parametrize("before", [("intend",), ("intend", "submitted"), ALL[:3], ALL, (*ALL[:3], "refused")])
def test_a_withdrawn_record_has_no_request_and_still_counts_against_a_rate_limit(before):
    left = through(*before, "withdraw")
    assert left.state is State.WAITING
    assert (left.request_id, left.submitted_at, left.result, left.stored, left.doubt) == (None,) * 5
    assert left.refused_at is None
    assert left.moment >= left.intended_at == NOW


def test_an_uploaded_input_is_kept_for_the_next_submit_unless_the_request_failed():
    left = record(uploaded="https://u.example/a")
    left.withdraw()
    assert left.uploaded == "https://u.example/a"
    left.withdraw(uploaded=False)
    assert left.uploaded is None


def test_a_new_intent_starts_without_the_fields_of_the_previous_one():
    left = through(*ALL[:3], "refused", "withdraw", "intend")
    assert (left.request_id, left.result, left.refused_at, left.doubt) == (None, None, None, "lost")
    assert through("intend", "error").doubt == "error"
    assert through("intend", "error", "submitted").doubt is None


def test_the_first_refusal_of_an_output_is_the_one_that_counts():
    left = through(*ALL[:3], "refused")
    left.refused(at=NOW + 999)
    assert (left.state, left.refused_at) == (State.COMPLETED, NOW + 5)
    left.delivered(None, at=NOW + 1000)
    assert left.refused_at is None


def test_a_request_stays_paid_for_when_its_stored_object_is_missing():
    left = through(*ALL, "undelivered")
    assert (left.state, left.request_id, left.stored) == (State.COMPLETED, "r", None)


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=12))
def test_every_change_counts(steps):
    made, before = record(), 0
    for step in steps:
        state = made.state
        STEPS[step](made)
        assert made.counter > before or (step == "again" and state is not State.FAILED)
        before = made.counter


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=12))
def test_a_record_survives_json(steps):
    made = through(*steps)
    text = made.model_dump_json(exclude_none=True)
    assert RequestRecord.model_validate_json(text) == made
    assert RequestRecord.model_validate({**json.loads(text), "from_the_future": {"a": 1}}) == made


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(
    st.sampled_from(["key", "state", "counter", "version", "request_id"]) | st.text(), x)))  # fmt: skip
def test_any_stored_value_is_a_record_or_refused(value):
    try:
        found = RequestRecord.model_validate(value)
    except ValueError:
        return
    assert isinstance(found, RequestRecord)


def test_a_record_of_another_version_is_refused():
    with pytest.raises(ValueError, match="version"):
        RequestRecord.model_validate({"key": "a", "version": 1})


# --- what a next run makes of what another gave up ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "state"),
    [
        (record(), State.WAITING),
        (through(*ALL), State.DELIVERED),
        (through("intend", "submitted"), State.SUBMITTED),
        (through("intend"), State.INTENDED),
        (failed("SegmindRequestFailedError", request_id="r"), State.WAITING),  # free
        (failed("SegmindContentBlockedError", request_id="r"), State.WAITING),
        (failed("SegmindInvalidRequestError"), State.WAITING),  # not accepted
        (failed("SegmindTimeoutError", request_id="r"), State.SUBMITTED),  # it still runs
        (failed("SegmindTimeoutError", request_id="r", age=2 * HOUR), State.SUBMITTED),  # the history is asked
        (failed("SegmindStorageError", request_id="r", result={"a": 1}, age=2 * HOUR), State.COMPLETED),
        (failed("SegmindOutputError", request_id="r", result={"a": 1}), State.COMPLETED),
        (failed("SegmindDownloadError", request_id="r", result={"a": 1}), State.COMPLETED),  # a proxy may return 403
        (failed("SegmindRequestExpiredError", request_id="r"), State.SUBMITTED),  # the history is asked
        (failed("SegmindAuthError", request_id="r"), State.SUBMITTED),  # it was submitted: paid for
        (failed("SegmindUnknownOutcomeError", doubt="lost"), State.INTENDED),  # it may be billed: never blindly again
        (failed("SegmindGatewayError", doubt="error"), State.INTENDED),
    ],
)
def test_what_a_run_does_with_a_failed_record_of_another_run(left, state):
    left = left.model_copy(deep=True)
    left.run_again()
    assert left.state is state
    assert left.error is None
    if state is State.WAITING:
        assert (left.request_id, left.submitted_at, left.result) == (None, None, None)


def test_a_refusal_of_an_output_outlives_the_run_that_met_it():
    left = through(*ALL[:3], "refused", "failed", "again")
    assert (left.state, left.refused_at) == (State.COMPLETED, NOW + 5)


@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=24))
@example(["submitted", "completed", "refused", "failed", "again"])
@example(["intend", "error", "failed", "again"])
def test_what_is_paid_for_is_never_forgotten_without_a_withdrawal(steps):
    """Where an id was learned, or a submit may have been accepted, only a withdrawal leads back to a submit."""
    made, owed = record(), False
    for step in steps:
        if made.state not in FROM.get(step, made.state):
            continue
        STEPS[step](made)
        if step in ("withdraw", "close", "delivered"):
            owed = False
        owed = owed or step in ("intend", "submitted", "undelivered")
        assert not owed or made.state is not State.WAITING


# --- several copies ----------------------------------------------------------------------------------------------


def test_the_counter_decides_and_no_clock():
    """Worker A, whose clock is two hours ahead, failed; worker B took up and submitted: its request is paid for."""
    ahead = record(counter=4, state=State.FAILED, finished_at=NOW + 2 * HOUR, error={"type": "SegmindAuthError"})
    behind = record(counter=5, state=State.SUBMITTED, request_id="r", submitted_at=NOW)
    assert newest([ahead, behind]) is behind
    assert newest([behind, None, ahead]) is behind
    assert newest([None, None]) is None


def test_of_two_copies_with_the_same_counter_the_later_state_is_right():
    there = record(counter=3, state=State.SUBMITTED, request_id="r")
    assert newest([record(counter=3, state=State.INTENDED), there]) is there


@given(st.integers(0, 5000), st.integers(0, 900))
def test_a_process_that_airflow_considers_dead_does_not_overtake_a_later_one(before, writes):
    dead, alive = (record(counter=before) for _ in range(2))
    dead.begin_try("me", 3)
    alive.begin_try("me", 4)
    for _ in range(writes):
        dead.refused(at=NOW)
    assert alive.counter > dead.counter
    alive.submitted("r", at=NOW)
    assert newest([dead, alive]) is alive


def owned(owner, state, request_id=None, **fields):
    return record(owner=owner, state=state, request_id=request_id, **fields)


@pytest.mark.parametrize(
    ("mine", "other", "right"),
    [
        (None, owned("o", State.SUBMITTED, "r2"), "r2"),  # what another has submitted is taken instead of a new one
        (owned("me", State.WAITING), owned("o", State.SUBMITTED, "r2"), "r2"),
        (owned("me", State.INTENDED, doubt="lost"), owned("o", State.COMPLETED, "r2"), "r2"),
        (owned("me", State.SUBMITTED, "r1"), owned("o", State.SUBMITTED, "r2", counter=99), "r1"),
        (owned("me", State.SUBMITTED, "r1"), owned("o", State.DELIVERED, "r2"), "r2"),  # it is there for all
        (owned("me", State.SUBMITTED, "r1"), owned("o", State.SUBMITTED, "r2", earlier=["r1"]), "r2"),  # it knew ours
        (owned("me", State.WAITING, earlier=["r2"]), owned("o", State.SUBMITTED, "r2"), None),  # it came to nothing
        (owned("me", State.DELIVERED, "r1"), owned("o", State.DELIVERED, "r2"), "r1"),
    ],
)
def test_which_request_of_two_owners_a_want_goes_on_with(mine, other, right):
    found, rest = right_of(mine, [other], owner="me")
    assert found.request_id == right
    assert rest is (None if right == "r2" else other)


def test_an_unknown_outcome_of_another_owner_is_searched_for():
    other = owned("o", State.INTENDED, doubt="lost", intended_at=NOW)
    found, _ = right_of(owned("me", State.WAITING), [other], owner="me")
    assert (found.state, found.forgotten_since) == (State.WAITING, NOW)


counted = st.builds(
    lambda counter, state, at: record(counter=counter, state=state, finished_at=at),
    st.integers(0, 4), st.sampled_from(State), st.floats(0, 9),
)  # fmt: skip


@given(st.lists(st.none() | counted, max_size=6), st.randoms())
def test_the_order_of_copies_does_not_matter(copies, random):
    def shown(found):
        return found and (found.counter, found.state)

    other = random.sample(copies, len(copies))
    right = newest(copies)
    assert shown(newest(other)) == shown(right)
    assert shown(newest([right, newest(other)])) == shown(right)  # merging again changes nothing
    assert shown(newest([newest(copies[:3]), newest(copies[3:])])) == shown(right)
    assert all(one is None or one.counter <= right.counter for one in copies)
