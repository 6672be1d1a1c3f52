"""
When to look next at a request: a pure function of the elapsed time and of what is known of the model.

Segmind has no webhook for model requests, so polling is the only way, and nobody says that polls are free. Knowledge
is a prior (the time that the model's page states, or the operator's ``expected_duration``) and then the durations
that Segmind itself reports of requests that completed.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections import deque
from dataclasses import dataclass

#: Seconds; never look more often than this.
SHORTEST = 0.25
#: Seconds; never look less often than this while a request is due.
LONGEST = 30.0
#: Where nothing is known, or a request takes longer than any before: steps, as a share of the elapsed time.
_STEP_UNKNOWN = 0.1
#: Seconds to the first look where nothing is known of the model: the vendor's advice.
_FIRST = 1.0
#: The first look is moved by at most this share of its time, so that requests of one moment are not seen in one tick;
#: by no more than half a step to either side, where that is known: requests that are all alike have short steps.
_SPREAD = 0.08
#: Completed requests that are remembered: the estimate follows a model that changes within some dozen requests.
_REMEMBERED = 100
#: Standard deviation of the logarithm that a prior stands for, and the limits of what is believed.
_PRIOR_DEVIATION = 0.2
_LEAST_DEVIATION, _MOST_DEVIATION = 0.03, 1.0
#: Median of the absolute deviation -> standard deviation, for a normal distribution.
_MAD = 1.4826
#: Seconds by which a duration may be longer than the age of its request: two clocks.
_CLOCKS = 30.0
#: From so many durations on, their own scatter is believed.
_MINIMUM_SAMPLES = 5


@dataclass(frozen=True)
class Known:
    """
    What is known of a model's durations, which are taken for lognormal.

    When to look then is a matter of what a look is worth. The two formulas below are fitted to the optimum (by
    dynamic programming, benchmarks/schedule.py) for one look = a delay of 2 % of the duration.

    :param median: seconds.
    :param deviation: standard deviation of their logarithm.
    """

    median: float
    deviation: float = _PRIOR_DEVIATION

    @property
    def first(self) -> float:
        """Seconds to the first look: late where durations are all alike, early where they scatter."""
        return self.median * math.exp(-0.58 * self.deviation * math.log(self.deviation / 0.046))

    @property
    def step(self) -> float:
        """Seconds between the further looks."""
        return 0.3 * self.median * math.pow(self.deviation, 0.75)

    @property
    def high_end(self) -> float:
        """Seconds by which (nearly) every request is done."""
        return self.median * math.exp(3.0 * self.deviation)


class Durations:
    """
    A running, robust estimate of one model's durations: median and median deviation of the latest requests.

    A few outliers move neither; old durations drop out as new ones come. A duration counts from twice its time after
    the submit: of a thousand requests that were submitted together, those that are done first are the quick ones,
    and say little of the others.
    """

    def __init__(self) -> None:
        self._logs: deque[float] = deque(maxlen=_REMEMBERED)
        self._young: list[tuple[float, float]] = []  # heap of (epoch seconds from which it counts, logarithm)
        self._estimates: dict[float | None, Known | None] = {}  # by prior; a look asks, only a new duration changes it

    def learn(self, seconds: float | None, *, submitted_at: float, now: float) -> None:
        """
        Take the duration of a completed request into account.

        One that is longer than the request's age is not believed: in milliseconds, say, it would put the next first
        poll behind every deadline.

        :param seconds: as Segmind states it; None where it does not.
        :param submitted_at: when the request was submitted (epoch seconds).
        :param now: the time (epoch seconds).
        """
        if seconds is not None and 0 < seconds <= now - submitted_at + _CLOCKS:
            heapq.heappush(self._young, (submitted_at + 2 * seconds, math.log(seconds)))

    def known(self, prior: float | None, *, now: float) -> Known | None:
        """
        Return what is known; None where nothing is.

        :param prior: seconds that the model is said to take. It counts as much as three requests.
        :param now: the time (epoch seconds).
        """
        while self._young and self._young[0][0] <= now:
            self._logs.append(heapq.heappop(self._young)[1])
            self._estimates.clear()
        if prior not in self._estimates:
            self._estimates[prior] = self._estimate(prior)
        return self._estimates[prior]

    def _estimate(self, prior: float | None) -> Known | None:
        logs = list(self._logs)
        if prior is not None:
            scatter = _PRIOR_DEVIATION / _MAD
            logs += (math.log(prior) + shift for shift in (-scatter, 0.0, scatter))
        if not logs:
            return None
        middle = _median(logs)
        if len(self._logs) < _MINIMUM_SAMPLES:
            return Known(math.exp(middle))
        deviation = _MAD * _median([abs(log - middle) for log in logs])
        return Known(math.exp(middle), min(_MOST_DEVIATION, max(_LEAST_DEVIATION, deviation)))


def _median(values: list[float]) -> float:
    values.sort()
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


@dataclass(frozen=True)
class PollSchedule:
    """
    The schedule of one request.

    :param known: what is known of the model's durations, or None.
    :param poll_interval: seconds between looks, fixed; None (default) to go by what is known.
    :param phase: 0 to 1, another for each request, see :func:`phase_of`.
    """

    known: Known | None = None
    poll_interval: float | None = None
    phase: float = 0.5

    def first(self, elapsed: float) -> float:
        """
        Return the seconds to the first look, ``elapsed`` seconds after the submit.

        A wait that is taken up late (a triggerer that was restarted takes up all of its waits at once) looks soon,
        at its own moment within a step.
        """
        return self._due - elapsed if elapsed < self._due else self.phase * self._step(elapsed)

    def next(self, elapsed: float) -> float:
        """Return the seconds to the next look, ``elapsed`` seconds after the submit."""
        if self.poll_interval is None and elapsed < self._due:
            return max(SHORTEST, self._due - elapsed)  # more is known now than when the last look was planned
        return self._step(elapsed)

    @property
    def _due(self) -> float:
        """Seconds from the submit to the first look."""
        if self.poll_interval is not None or self.known is None:
            due = _FIRST if self.poll_interval is None else self.poll_interval
            spread = _SPREAD * due
        else:
            due = self.known.first
            spread = min(_SPREAD * due, self.known.step / 2)
        return max(SHORTEST, due + spread * (2 * self.phase - 1))

    def _step(self, elapsed: float) -> float:
        if self.poll_interval is not None:
            return max(SHORTEST, self.poll_interval)
        step = self.known.step if self.known else 0.0
        if self.known is None or elapsed > self.known.high_end:  # what should be done by then is as good as unknown
            step = max(step, _FIRST, _STEP_UNKNOWN * elapsed)
        return max(SHORTEST, min(LONGEST, step))


def phase_of(request_id: str) -> float:
    """Return a number from 0 to 1 that is the request's own, and the same in every process."""
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=4).digest()) / 2**32


def clip(wait: float, *, now: float, deadline: float) -> float:
    """Shorten a wait so that it ends at the deadline (both in epoch seconds) at the latest."""
    return max(0.0, min(wait, deadline - now))
