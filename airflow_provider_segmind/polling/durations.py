"""
How long a model's requests take: an estimate from the durations that Segmind reports of completed requests.

The estimate starts from a prior, the time that the model's page states or the ``expected_duration`` of the operator.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict, deque
from dataclasses import dataclass

#: Number of latest completed requests that are kept: the estimate follows a change of the model within some dozens.
_KEPT = 100
#: Standard deviation of the logarithm of a duration that is assumed for a prior, and the limits of an estimated one.
_PRIOR_DEVIATION = 0.2
_MIN_DEVIATION, _MAX_DEVIATION = 0.03, 1.0
#: Factor from the median of the absolute deviations to the standard deviation of a normal distribution.
_MAD_TO_DEVIATION = 1.4826
#: Seconds by which a duration may exceed the age of its request, because the two come from different clocks.
_CLOCK_TOLERANCE = 30.0
#: Minimum number of durations before their own deviation is used.
_MINIMUM_SAMPLES = 5


@dataclass(frozen=True)
class DurationEstimate:
    """
    An estimate of a model's durations, which are assumed to be lognormal.

    :param median: seconds.
    :param deviation: standard deviation of their natural logarithm (default 0.2).
    """

    median: float
    deviation: float = _PRIOR_DEVIATION

    @property
    def first_poll(self) -> float:
        """Seconds from the submit to the first poll: late if durations vary little, early if they vary much."""
        return self.median * math.exp(-0.58 * self.deviation * math.log(self.deviation / 0.046))

    @property
    def interval(self) -> float:
        """Seconds between the following polls."""
        return 0.3 * self.median * math.pow(self.deviation, 0.75)

    @property
    def maximum(self) -> float:
        """Seconds by which nearly every request has completed."""
        return self.median * math.exp(3.0 * self.deviation)


class Durations:
    """
    A running, robust estimate of one model's durations: median and median deviation of the latest requests.

    A few outliers change neither, and old durations are dropped as new ones arrive. A duration counts only when twice
    its time has passed since the submit. Otherwise the first of a thousand requests submitted together would bias the
    estimate: the ones that complete first are the quick ones.
    """

    def __init__(self) -> None:
        self._logs: deque[float] = deque(maxlen=_KEPT)
        self._pending: list[tuple[float, float]] = []  # heap of (epoch seconds from which it counts, logarithm)
        self._estimates: dict[float | None, DurationEstimate | None] = {}  # cache, by prior

    def learn(self, seconds: float | None, *, submitted_at: float, now: float) -> None:
        """
        Add the duration of a completed request.

        A duration that exceeds the age of the request is ignored. A value in milliseconds, for example, would move
        the next first poll beyond every deadline.

        :param seconds: the duration that Segmind reports; None if it reports none.
        :param submitted_at: when the request was submitted (epoch seconds).
        :param now: the current time (epoch seconds).
        """
        if seconds is not None and 0 < seconds <= now - submitted_at + _CLOCK_TOLERANCE:
            heapq.heappush(self._pending, (submitted_at + 2 * seconds, math.log(seconds)))

    def estimate(self, prior: float | None, *, now: float) -> DurationEstimate | None:
        """
        Return the estimate; None without a prior and without a duration.

        :param prior: expected duration (seconds), which counts as much as three requests; None if unknown.
        :param now: the current time (epoch seconds).
        """
        while self._pending and self._pending[0][0] <= now:
            self._logs.append(heapq.heappop(self._pending)[1])
            self._estimates.clear()
        if prior not in self._estimates:
            self._estimates[prior] = self._compute(prior)
        return self._estimates[prior]

    def _compute(self, prior: float | None) -> DurationEstimate | None:
        logs = list(self._logs)
        if prior is not None:
            scatter = _PRIOR_DEVIATION / _MAD_TO_DEVIATION
            logs += (math.log(prior) + shift for shift in (-scatter, 0.0, scatter))
        if not logs:
            return None
        middle = _median(logs)
        if len(self._logs) < _MINIMUM_SAMPLES:
            return DurationEstimate(math.exp(middle))
        deviation = _MAD_TO_DEVIATION * _median([abs(log - middle) for log in logs])
        return DurationEstimate(math.exp(middle), min(_MAX_DEVIATION, max(_MIN_DEVIATION, deviation)))


def _median(values: list[float]) -> float:
    values.sort()
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


_DURATIONS: defaultdict[tuple[str | None, str], Durations] = defaultdict(Durations)


def durations_of(segmind_conn_id: str | None, model: str) -> Durations:
    """Return the durations that this process has learned of a model over this connection."""
    return _DURATIONS[segmind_conn_id, model]
