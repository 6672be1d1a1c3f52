"""The poll schedule: few polls, little delay, never past the deadline, and an estimate that improves."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segmind.polling.durations import DurationEstimate, Durations
from airflow_provider_segmind.polling.schedule import MAX_INTERVAL, MIN_INTERVAL, PollSchedule, clip, phase_of

seconds = st.floats(0, 100_000)
phases = st.floats(0, 1)
LATER = 1e9  # epoch seconds; every duration counts by then


def estimate_of(durations, prior):
    return durations.estimate(prior, now=LATER)


estimates = st.none() | st.builds(DurationEstimate, st.floats(0.01, 3600), st.floats(0.03, 1.0))


@given(seconds, estimates, st.none() | st.floats(0.001, 600), phases)
def test_polls_are_never_closer_than_the_minimum_interval(elapsed, estimate, interval, phase):
    schedule = PollSchedule(estimate, interval, phase)
    assert schedule.next(elapsed) >= MIN_INTERVAL
    assert schedule.first(0.0) >= MIN_INTERVAL
    assert schedule.first(elapsed) >= 0


@given(seconds, estimates, phases)
def test_a_request_that_is_due_is_polled_at_least_once_per_maximum_interval(elapsed, estimate, phase):
    if estimate is None or elapsed >= estimate.median * 4:
        assert PollSchedule(estimate, phase=phase).next(elapsed) <= MAX_INTERVAL


@given(st.floats(0, 1e6), st.floats(0, 2e9), st.floats(0, 2e9))
def test_a_pause_ends_at_the_deadline(pause, now, deadline):
    clipped = clip(pause, now=now, deadline=deadline)
    assert 0 <= clipped <= pause
    assert clipped == 0 or now + clipped <= deadline * (1 + 1e-12)


def test_a_given_interval_is_kept():
    schedule = PollSchedule(DurationEstimate(12.0), 5)
    assert [schedule.first(0.0), *(schedule.next(t) for t in (3, 100))] == [5, 5, 5]


def test_requests_submitted_together_are_polled_at_different_moments():
    firsts = [PollSchedule(DurationEstimate(12.0), phase=phase_of(f"request-{i}")).first(0.0) for i in range(1000)]
    tenths = {round(first, 1) for first in firsts}
    assert max(firsts) - min(firsts) > 1.0
    assert len(tenths) > 10
    assert max(sum(1 for first in firsts if round(first, 1) == tenth) for tenth in tenths) < 200


def test_the_phase_hardly_moves_the_first_poll_if_durations_vary_little():
    alike = DurationEstimate(30.0, 0.03)
    firsts = [PollSchedule(alike, phase=phase).first(0.0) for phase in (0.0, 0.5, 1.0)]
    assert firsts == pytest.approx(
        [alike.first_poll - alike.interval / 2, alike.first_poll, alike.first_poll + alike.interval / 2]
    )


def test_waits_that_start_late_poll_soon_but_not_all_at_once():
    """A restarted triggerer resumes all of its waits at once."""
    estimate = DurationEstimate(12.0)
    firsts = [PollSchedule(estimate, phase=phase_of(f"request-{i}")).first(60.0) for i in range(1000)]
    assert 0 <= min(firsts) < 0.2
    assert max(firsts) <= PollSchedule(estimate).next(60.0)
    assert statistics.pstdev(firsts) > 0.5


def test_a_phase_depends_on_the_request_id_only():
    assert phase_of("a") == phase_of("a") != phase_of("b")
    assert 0 <= phase_of("a") < 1


def test_a_better_estimate_moves_the_next_poll():
    """The first poll follows a wrong prior; meanwhile other requests have shown that the model takes a minute."""
    durations = Durations()
    before = PollSchedule(estimate_of(durations, 2.0)).next(2.0)
    for _ in range(20):
        durations.learn(60.0, submitted_at=0.0, now=LATER)
    assert before < 1 < 50 < PollSchedule(estimate_of(durations, 2.0)).next(2.0) < 60


# --- the estimate --------------------------------------------------------------------------------------------------


def test_there_is_no_estimate_without_a_prior_or_a_request():
    assert estimate_of(Durations(), None) is None


def test_a_prior_alone_is_the_estimate():
    assert estimate_of(Durations(), 12.04).median == pytest.approx(12.04)


@pytest.mark.parametrize("odd", [None, 0.0, -1.0, math.nan, math.inf])
def test_an_invalid_duration_is_ignored(odd):
    durations = Durations()
    durations.learn(odd, submitted_at=0.0, now=LATER)
    assert estimate_of(durations, None) is None


def test_without_a_prior_the_first_request_is_the_estimate():
    durations = Durations()
    durations.learn(30.0, submitted_at=0.0, now=LATER)
    assert estimate_of(durations, None).median == pytest.approx(30.0)


def test_outliers_do_not_change_the_estimate():
    durations = Durations()
    for i in range(50):
        durations.learn(600.0 if i % 10 == 0 else 12.0 + 0.01 * i, submitted_at=0.0, now=LATER)
    estimate = estimate_of(durations, 12.04)
    assert 11 < estimate.median < 13
    assert estimate.deviation < 0.1


def test_a_wrong_prior_is_forgotten_within_a_few_requests():
    durations = Durations()
    for _ in range(8):
        durations.learn(60.0, submitted_at=0.0, now=LATER)
    assert estimate_of(durations, 5.0).median == pytest.approx(60.0)


def test_old_durations_drop_out():
    durations = Durations()
    for duration in [12.0] * 200 + [40.0] * 60:
        durations.learn(duration, submitted_at=0.0, now=LATER)
    assert estimate_of(durations, None).median == pytest.approx(40.0)


def test_the_quick_ones_of_requests_submitted_together_do_not_count_at_once():
    """A thousand mapped tasks: when the first hundred have completed, their durations must not bias the estimate."""
    rng = random.Random(3)
    durations = Durations()
    together = sorted(rng.lognormvariate(math.log(12.0), 0.2) for _ in range(1000))
    for duration in together[:100]:
        durations.learn(duration, submitted_at=1000.0, now=1000.0 + duration)
    assert durations.estimate(12.04, now=1000.0 + together[100]).median == pytest.approx(12.04)
    for duration in together[100:]:
        durations.learn(duration, submitted_at=1000.0, now=1000.0 + duration)
    assert durations.estimate(12.04, now=1100.0).median > 12


def test_a_duration_counts_when_twice_its_time_has_passed():
    durations = Durations()
    durations.learn(10.0, submitted_at=1000.0, now=1010.0)
    assert durations.estimate(None, now=1019.9) is None
    assert durations.estimate(None, now=1020.0) is not None


def test_the_deviation_is_learned():
    rng = random.Random(1)
    durations = Durations()
    for _ in range(100):
        durations.learn(rng.lognormvariate(math.log(12.0), 0.4), submitted_at=0.0, now=LATER)
    assert estimate_of(durations, None).deviation == pytest.approx(0.4, rel=0.4)


def test_a_duration_in_milliseconds_is_ignored():
    """12040 for 12 s: it exceeds the age of its request, and would move the next first poll by hours."""
    durations = Durations()
    durations.learn(12_040.0, submitted_at=1000.0, now=1012.5)
    assert estimate_of(durations, None) is None
    assert estimate_of(durations, 12.04).median == pytest.approx(12.04)


@given(st.floats(0.001, 1e7), st.floats(0, 1e5))
def test_no_duration_moves_the_first_poll_far_beyond_the_age_of_its_request(reported, age):
    durations = Durations()
    durations.learn(reported, submitted_at=1000.0, now=1000.0 + age)
    estimate = estimate_of(durations, None)
    assert estimate is None or PollSchedule(estimate).first(0.0) <= age + 30


@pytest.mark.parametrize("ahead", [-30, 30])
def test_a_duration_counts_if_the_clocks_differ_by_half_a_minute(ahead):
    durations = Durations()
    durations.learn(12.0, submitted_at=1000.0 + ahead, now=1012.5)
    assert estimate_of(durations, None).median == pytest.approx(12.0)


# --- polls and delay -----------------------------------------------------------------------------------------------


def polls(schedule: PollSchedule, duration: float) -> tuple[int, float]:
    """Return the number of polls for a request of this duration, and the delay of the last one (seconds)."""
    now, count = schedule.first(0.0), 1
    while now < duration:
        now += schedule.next(now)
        count += 1
    return count, now - duration


def simulate(sigma: float, *, prior: float | None, learning: bool, requests: int = 4000) -> tuple[float, float]:
    """Return mean polls and mean delay (share of the duration) of consecutive requests of about twelve seconds."""
    rng = random.Random(7)
    durations, counts, delays = Durations(), [], []
    for _ in range(requests):
        duration = rng.lognormvariate(math.log(12.0), sigma)
        schedule = PollSchedule(estimate_of(durations, prior), phase=rng.random())
        count, late = polls(schedule, duration)
        counts.append(count)
        delays.append(late / duration)
        if learning:
            durations.learn(duration, submitted_at=0.0, now=LATER)
    return statistics.mean(counts), statistics.mean(delays)


@pytest.mark.parametrize(
    ("sigma", "prior", "learning", "max_polls", "max_delay"),
    [
        (0.2, 12.04, False, 3.8, 0.07),  # the time on the model's page only
        (0.2, 12.04, True, 3.8, 0.07),
        (0.2, None, True, 3.8, 0.07),  # without a prior
        (0.2, 36.0, True, 3.8, 0.07),  # a prior that is three times too long, or too short
        (0.2, 4.0, True, 4.0, 0.07),
        (0.05, None, True, 2.5, 0.05),
        (0.01, None, True, 2.2, 0.04),
        (0.4, None, True, 5.0, 0.11),
    ],
)
def test_few_polls_and_little_delay(sigma, prior, learning, max_polls, max_delay):
    """For comparison (sigma 0.2): one poll a second takes 12.8 polls for 4.1 %, one every two seconds 6.6 for 8.2 %."""
    mean_polls, mean_delay = simulate(sigma, prior=prior, learning=learning)
    assert mean_polls <= max_polls
    assert mean_delay <= max_delay


def test_polls_and_delay_without_an_estimate():
    mean_polls, mean_delay = simulate(0.2, prior=None, learning=False)
    assert mean_polls < 14
    assert mean_delay < 0.06


def test_an_estimate_that_is_far_too_short_costs_few_more_polls_than_none():
    """A model that takes twenty times as long as before."""
    schedule = PollSchedule(DurationEstimate(0.5, 0.03))
    assert polls(schedule, 10.0)[0] <= polls(PollSchedule(), 10.0)[0] + 2


def test_the_interval_of_an_overdue_request_grows():
    schedule = PollSchedule(DurationEstimate(12.0, 0.05))
    assert schedule.next(13.0) < 1 < schedule.next(60.0) < schedule.next(200.0) < schedule.next(1000.0) == MAX_INTERVAL
