"""The schedule: few looks, soon enough, and never past the deadline."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segmind.protocol.polling import LONGEST, SHORTEST, PollSchedule, clip

seconds = st.floats(0, 100_000)
expected = st.none() | st.floats(0.01, 3600)


@given(seconds, expected, st.none() | st.floats(0.001, 600))
def test_never_more_often_than_the_shortest(elapsed, known, interval):
    assert PollSchedule(known, interval).wait(elapsed) >= SHORTEST


@given(seconds, expected)
def test_never_less_often_than_the_longest_once_it_is_due(elapsed, known):
    if known is None or elapsed >= known:
        assert PollSchedule(known).wait(elapsed) <= LONGEST


@given(st.floats(0, 1e6), st.floats(0, 2e9), st.floats(0, 2e9))
def test_a_wait_ends_at_the_deadline(wait, now, deadline):
    clipped = clip(wait, now=now, deadline=deadline)
    assert 0 <= clipped <= wait
    assert clipped == 0 or now + clipped <= deadline * (1 + 1e-12)


def test_a_given_interval_is_kept():
    assert [PollSchedule(12.0, 5).wait(t) for t in (0, 3, 100)] == [5, 5, 5]


def looks(schedule: PollSchedule, duration: float) -> tuple[int, float]:
    """Return how many looks a job of this duration takes, and how late its end is seen."""
    now, count = 0.0, 0
    while True:
        now += schedule.wait(now)
        count += 1
        if now >= duration:
            return count, now - duration


@pytest.mark.parametrize(("known", "polls", "delay"), [(12.0, 4.5, 0.08), (None, 15.0, 0.10)])
def test_looks_and_delay_for_jobs_around_twelve_seconds(known, polls, delay):
    """Where the usual time is known, about a third of the looks of a poll a second."""
    durations = [12.0 * (0.7 + 0.006 * i) for i in range(101)]
    found = [looks(PollSchedule(known), duration) for duration in durations]
    assert statistics.mean(count for count, _ in found) <= polls
    assert statistics.mean(late / duration for (_, late), duration in zip(found, durations, strict=True)) <= delay
