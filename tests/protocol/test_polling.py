"""The schedule: few looks, soon enough, never past the deadline, and wiser with every request."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segmind.polling.schedule import (
    LONGEST,
    SHORTEST,
    Durations,
    Known,
    PollSchedule,
    clip,
    phase_of,
)

seconds = st.floats(0, 100_000)
phases = st.floats(0, 1)
LATER = 1e9  # epoch seconds by which everything counts


def known_of(durations, prior):
    return durations.known(prior, now=LATER)


knowledge = st.none() | st.builds(Known, st.floats(0.01, 3600), st.floats(0.03, 1.0))


@given(seconds, knowledge, st.none() | st.floats(0.001, 600), phases)
def test_never_more_often_than_the_shortest(elapsed, known, interval, phase):
    schedule = PollSchedule(known, interval, phase)
    assert schedule.next(elapsed) >= SHORTEST
    assert schedule.first(0.0) >= SHORTEST
    assert schedule.first(elapsed) >= 0


@given(seconds, knowledge, phases)
def test_never_less_often_than_the_longest_once_it_is_due(elapsed, known, phase):
    if known is None or elapsed >= known.median * 4:
        assert PollSchedule(known, phase=phase).next(elapsed) <= LONGEST


@given(st.floats(0, 1e6), st.floats(0, 2e9), st.floats(0, 2e9))
def test_a_wait_ends_at_the_deadline(wait, now, deadline):
    clipped = clip(wait, now=now, deadline=deadline)
    assert 0 <= clipped <= wait
    assert clipped == 0 or now + clipped <= deadline * (1 + 1e-12)


def test_a_given_interval_is_kept():
    schedule = PollSchedule(Known(12.0), 5)
    assert [schedule.first(0.0), *(schedule.next(t) for t in (3, 100))] == [5, 5, 5]


def test_requests_of_one_moment_are_polled_in_different_moments():
    firsts = [PollSchedule(Known(12.0), phase=phase_of(f"request-{i}")).first(0.0) for i in range(1000)]
    tenths = {round(first, 1) for first in firsts}
    assert max(firsts) - min(firsts) > 1.0
    assert len(tenths) > 10
    assert max(sum(1 for first in firsts if round(first, 1) == tenth) for tenth in tenths) < 200


def test_where_durations_are_all_alike_the_first_poll_is_hardly_moved():
    alike = Known(30.0, 0.03)
    firsts = [PollSchedule(alike, phase=phase).first(0.0) for phase in (0.0, 0.5, 1.0)]
    assert firsts == pytest.approx([alike.first - alike.step / 2, alike.first, alike.first + alike.step / 2])


def test_waits_that_are_taken_up_late_poll_soon_but_not_all_at_once():
    """A triggerer that was restarted takes up all of its waits in one moment."""
    known = Known(12.0)
    firsts = [PollSchedule(known, phase=phase_of(f"request-{i}")).first(60.0) for i in range(1000)]
    assert 0 <= min(firsts) < 0.2
    assert max(firsts) <= PollSchedule(known).next(60.0)
    assert statistics.pstdev(firsts) > 0.5


def test_a_phase_is_the_requests_own_and_stays():
    assert phase_of("a") == phase_of("a") != phase_of("b")
    assert 0 <= phase_of("a") < 1


def test_what_is_learned_later_moves_the_next_poll():
    """A first look by a wrong prior, and by then others have shown that the model takes a minute."""
    durations = Durations()
    before = PollSchedule(known_of(durations, 2.0)).next(2.0)
    for _ in range(20):
        durations.learn(60.0, submitted_at=0.0, now=LATER)
    assert before < 1 < 50 < PollSchedule(known_of(durations, 2.0)).next(2.0) < 60


# --- what is known -------------------------------------------------------------------------------------------------


def test_nothing_is_known_without_a_prior_or_a_request():
    assert known_of(Durations(), None) is None


def test_a_prior_stands_for_itself():
    assert known_of(Durations(), 12.04).median == pytest.approx(12.04)


@pytest.mark.parametrize("odd", [None, 0.0, -1.0, math.nan, math.inf])
def test_what_is_not_a_duration_teaches_nothing(odd):
    durations = Durations()
    durations.learn(odd, submitted_at=0.0, now=LATER)
    assert known_of(durations, None) is None


def test_the_first_request_counts_where_there_is_not_a_prior():
    durations = Durations()
    durations.learn(30.0, submitted_at=0.0, now=LATER)
    assert known_of(durations, None).median == pytest.approx(30.0)


def test_outliers_move_nothing():
    durations = Durations()
    for i in range(50):
        durations.learn(600.0 if i % 10 == 0 else 12.0 + 0.01 * i, submitted_at=0.0, now=LATER)
    known = known_of(durations, 12.04)
    assert 11 < known.median < 13
    assert known.deviation < 0.1


def test_a_wrong_prior_is_forgotten_within_a_few_requests():
    durations = Durations()
    for _ in range(8):
        durations.learn(60.0, submitted_at=0.0, now=LATER)
    assert known_of(durations, 5.0).median == pytest.approx(60.0)


def test_old_durations_drop_out():
    durations = Durations()
    for duration in [12.0] * 200 + [40.0] * 60:
        durations.learn(duration, submitted_at=0.0, now=LATER)
    assert known_of(durations, None).median == pytest.approx(40.0)


def test_of_requests_that_were_submitted_together_the_quick_ones_do_not_count_at_once():
    """A mapped task's thousand: when the first hundred are done, the estimate must not be theirs."""
    rng = random.Random(3)
    durations = Durations()
    together = sorted(rng.lognormvariate(math.log(12.0), 0.2) for _ in range(1000))
    for duration in together[:100]:
        durations.learn(duration, submitted_at=1000.0, now=1000.0 + duration)
    assert durations.known(12.04, now=1000.0 + together[100]).median == pytest.approx(12.04)
    for duration in together[100:]:
        durations.learn(duration, submitted_at=1000.0, now=1000.0 + duration)
    assert durations.known(12.04, now=1100.0).median > 12


def test_a_duration_counts_from_twice_as_long_after_its_submit():
    durations = Durations()
    durations.learn(10.0, submitted_at=1000.0, now=1010.0)
    assert durations.known(None, now=1019.9) is None
    assert durations.known(None, now=1020.0) is not None


def test_scatter_is_learned():
    rng = random.Random(1)
    durations = Durations()
    for _ in range(100):
        durations.learn(rng.lognormvariate(math.log(12.0), 0.4), submitted_at=0.0, now=LATER)
    assert known_of(durations, None).deviation == pytest.approx(0.4, rel=0.4)


def test_a_duration_in_milliseconds_is_not_believed():
    """12040 for 12 s: it is longer than its request has existed, and would move the next first poll by hours."""
    durations = Durations()
    durations.learn(12_040.0, submitted_at=1000.0, now=1012.5)
    assert known_of(durations, None) is None
    assert known_of(durations, 12.04).median == pytest.approx(12.04)


@given(st.floats(0.001, 1e7), st.floats(0, 1e5))
def test_no_duration_moves_the_first_poll_far_beyond_the_age_of_its_request(stated, age):
    durations = Durations()
    durations.learn(stated, submitted_at=1000.0, now=1000.0 + age)
    known = known_of(durations, None)
    assert known is None or PollSchedule(known).first(0.0) <= age + 30


@pytest.mark.parametrize("ahead", [-30, 30])
def test_clocks_that_differ_by_half_a_minute_still_teach(ahead):
    durations = Durations()
    durations.learn(12.0, submitted_at=1000.0 + ahead, now=1012.5)
    assert known_of(durations, None).median == pytest.approx(12.0)


# --- looks and delay -----------------------------------------------------------------------------------------------


def polls(schedule: PollSchedule, duration: float) -> tuple[int, float]:
    """Return how many looks a job of this duration takes, and how late its end is seen."""
    now, count = schedule.first(0.0), 1
    while now < duration:
        now += schedule.next(now)
        count += 1
    return count, now - duration


def simulate(sigma: float, *, prior: float | None, learning: bool, jobs: int = 4000) -> tuple[float, float]:
    """Mean looks and mean delay (share of the duration) of jobs around twelve seconds, one after the other."""
    rng = random.Random(7)
    durations, counts, delays = Durations(), [], []
    for _ in range(jobs):
        duration = rng.lognormvariate(math.log(12.0), sigma)
        schedule = PollSchedule(known_of(durations, prior), phase=rng.random())
        count, late = polls(schedule, duration)
        counts.append(count)
        delays.append(late / duration)
        if learning:
            durations.learn(duration, submitted_at=0.0, now=LATER)
    return statistics.mean(counts), statistics.mean(delays)


@pytest.mark.parametrize(
    ("sigma", "prior", "learning", "most_looks", "most_delay"),
    [
        (0.2, 12.04, False, 3.8, 0.07),  # the published time alone
        (0.2, 12.04, True, 3.8, 0.07),
        (0.2, None, True, 3.8, 0.07),  # from nothing
        (0.2, 36.0, True, 3.8, 0.07),  # a prior that is three times too long, or too short
        (0.2, 4.0, True, 4.0, 0.07),
        (0.05, None, True, 2.5, 0.05),
        (0.01, None, True, 2.2, 0.04),
        (0.4, None, True, 5.0, 0.11),
    ],
)
def test_few_polls_and_little_delay(sigma, prior, learning, most_polls, most_delay):
    """For comparison (sigma 0.2): a look a second takes 12.8 for 4.1 %, one every two seconds 6.6 for 8.2 %."""
    mean_polls, mean_delay = simulate(sigma, prior=prior, learning=learning)
    assert mean_polls <= most_polls
    assert mean_delay <= most_delay


def test_where_nothing_is_known_and_nothing_is_learned_it_still_works():
    mean_polls, mean_delay = simulate(0.2, prior=None, learning=False)
    assert mean_polls < 14
    assert mean_delay < 0.06


def test_an_estimate_that_is_far_too_short_costs_no_more_polls_than_none():
    """A model that was quick until now, and takes twenty times as long today."""
    schedule = PollSchedule(Known(0.5, 0.03))
    assert polls(schedule, 10.0)[0] <= polls(PollSchedule(), 10.0)[0] + 2


def test_an_overdue_request_is_polled_less_and_less_often():
    schedule = PollSchedule(Known(12.0, 0.05))
    assert schedule.next(13.0) < 1 < schedule.next(60.0) < schedule.next(200.0) < schedule.next(1000.0) == LONGEST
