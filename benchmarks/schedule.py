"""
When to poll: our schedule against fixed intervals and against the optimum, simulated for lognormal durations.

The optimum minimizes polls + delay, where one poll counts as a delay of 2 % of the duration, and is computed from the
exact distribution. The two formulas of ``polling/durations.py`` (``DurationEstimate.first_poll`` and ``.interval``) are
fitted to it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import mean

import numpy as np

from airflow_provider_segmind.polling.durations import DurationEstimate, Durations
from airflow_provider_segmind.polling.schedule import PollSchedule
from benchmarks.figures import Part, Ratio, Row

MEDIAN = 12.0  # seconds
SIGMAS = (0.05, 0.2, 0.4)
#: Delay that counts as much as one poll, in durations.
_POLL_COST = 1 / 50
_GRID = 400

#: From the elapsed seconds to the time of the next poll (seconds since the submit).
Schedule = Callable[[float], float]


def run(quick: bool) -> Part:
    """Simulate all schedules; ``quick``: with fewer jobs."""
    jobs = 4_000 if quick else 40_000
    rows, ratios = [], []
    for sigma in SIGMAS:
        setting = f"sigma {sigma}"
        for name, schedule in _contenders(sigma):
            rows.append(_row(name, setting, *_simulate(schedule, sigma, jobs)))
        rows.append(_row("ours, without history", setting, *_learn(sigma, jobs)))
        rows.append(_row("optimum", setting, *_optimum(sigma)))
        name = f"polls and delay together (a poll costs 2 % of the job), ours / optimum, {setting}"
        ratios.append(Ratio(name, _together(rows[-2]) / _together(rows[-1]), at_most=1.25))
    return Part(
        name="schedule",
        title="When to poll",
        conditions="Simulated jobs, lognormal, median 12 s, one after the other; no gateway and no clock is involved.",
        rows=rows,
        ratios=ratios,
    )


def _together(row: Row) -> float:
    return (row.figures["polls per job"] or 0.0) + (row.figures["delay mean (%)"] or 0.0) / 100 / _POLL_COST


def _row(contender: str, setting: str, polls: float, delay: float) -> Row:
    return Row(contender, setting, {"polls per job": polls, "delay mean (%)": 100 * delay})


def _contenders(sigma: float) -> list[tuple[str, Schedule]]:
    schedule = PollSchedule(DurationEstimate(MEDIAN, sigma))

    def ours(elapsed: float) -> float:
        return schedule.first(0.0) if elapsed == 0 else elapsed + schedule.next(elapsed)

    return [
        ("every 1 s", lambda elapsed: elapsed + 1.0),
        ("every 2 s", lambda elapsed: elapsed + 2.0),
        ("growing, 0.5 s x 1.3", lambda elapsed: max(0.5, elapsed * 1.3 + 0.5)),
        ("ours, distribution known", ours),
    ]


def _simulate(schedule: Schedule, sigma: float, jobs: int) -> tuple[float, float]:
    rng = random.Random(1)  # noqa: S311
    found = [_polls(schedule, rng.lognormvariate(math.log(MEDIAN), sigma)) for _ in range(jobs)]
    return mean(polls for polls, _ in found), mean(delay for _, delay in found)


def _polls(schedule: Schedule, duration: float) -> tuple[int, float]:
    now, count = schedule(0.0), 1
    while now < duration:
        now, count = schedule(now), count + 1
    return count, (now - duration) / duration


def _learn(sigma: float, jobs: int) -> tuple[float, float]:
    rng, durations, found = random.Random(1), Durations(), []  # noqa: S311
    for _ in range(jobs):
        duration = rng.lognormvariate(math.log(MEDIAN), sigma)
        ours = PollSchedule(durations.estimate(None, now=math.inf), phase=rng.random())
        found.append(_polls(lambda now, s=ours: s.first(0.0) if now == 0 else now + s.next(now), duration))  # type: ignore[misc]
        durations.learn(duration, submitted_at=0.0, now=duration)
    return mean(polls for polls, _ in found), mean(delay for _, delay in found)


def _optimum(sigma: float) -> tuple[float, float]:
    """Return polls and delay of the best schedule, by dynamic programming from the last moment backwards."""
    at = np.exp(np.linspace(-4.5 * sigma, 4.5 * sigma, _GRID))
    done = np.array([0.5 * (1 + math.erf(math.log(x) / sigma / math.sqrt(2))) for x in at])
    share, middle = np.diff(done), np.sqrt(at[1:] * at[:-1])
    cost, polls, delay = np.zeros(_GRID), np.zeros(_GRID), np.zeros(_GRID)
    for now in range(_GRID - 2, -1, -1):
        left = max(1.0 - done[now], 1e-12)
        later = np.arange(now + 1, _GRID)
        late = at[later] * np.cumsum(share[now:] / middle[now:]) - np.cumsum(share[now:])
        total = 1 + late / left / _POLL_COST + (1 - done[later]) / left * cost[later]
        best = int(np.argmin(total))
        continues = (1 - done[later[best]]) / left
        cost[now] = total[best]
        polls[now] = 1 + continues * polls[later[best]]
        delay[now] = late[best] / left + continues * delay[later[best]]
    return float(polls[0]), float(delay[0])
