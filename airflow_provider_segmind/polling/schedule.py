"""
When to poll a request next: a pure function of the elapsed time and of the estimated duration of the model.

Theory of the schedule
----------------------
Segmind has no webhook for model requests, so polling is the only way to learn that a request has completed. A poll
costs a round trip, a share of the account's rate limit, and CPU in a triggerer that waits for a thousand requests. A
late poll costs delay. The schedule minimizes the sum, where one poll counts as much as a delay of 2 % of the duration.

1. Durations of one model are assumed to be lognormal with a median and a deviation (``durations.py``).
2. No poll before the first moment at which the request is likely to have completed: ``DurationEstimate.first_poll``.
   With little deviation it is close to the median; with much deviation it is earlier.
3. Then one poll per ``DurationEstimate.interval``, which grows with the deviation.
   Both formulas are fitted to the optimum, which ``benchmarks/schedule.py`` finds by dynamic programming.
4. A request that takes longer than nearly all before it (``DurationEstimate.maximum``), or a model without an
   estimate, is polled at growing intervals: 10 % of the elapsed time, at least 1 s and at most 30 s.
5. The first poll is moved by a phase between 0 and 1 that is computed from the request id. Requests submitted in the
   same moment are therefore polled at different moments, and a restart does not change their schedule.
6. A wait that starts late (a restarted triggerer resumes all of its waits at once) polls within one interval, at a
   moment that also follows from the phase.
7. The estimate improves while a request waits. If it has grown, the next poll is moved to the new first poll.
8. A ``poll_interval`` that the user sets replaces the estimate. A pause never exceeds the deadline.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from airflow_provider_segmind.polling.durations import DurationEstimate

#: Seconds; minimum between two polls.
MIN_INTERVAL = 0.25
#: Seconds; maximum between two polls of a request that is due.
MAX_INTERVAL = 30.0
#: Interval without an estimate, or after its maximum, as a share of the elapsed time.
_SHARE_OF_ELAPSED = 0.1
#: Seconds to the first poll without an estimate, as the vendor recommends.
_FIRST_POLL = 1.0
#: The phase moves the first poll by at most this share of its time, and by at most half an interval: requests whose
#: durations vary little have short intervals.
_PHASE_SHARE = 0.08


@dataclass(frozen=True)
class PollSchedule:
    """
    The schedule of one request.

    :param estimate: the estimated duration, or None (default) if unknown.
    :param poll_interval: fixed seconds between polls; None (default) to follow the estimate.
    :param phase: 0 to 1, different for each request, see :func:`phase_of` (default 0.5: not moved).
    """

    estimate: DurationEstimate | None = None
    poll_interval: float | None = None
    phase: float = 0.5

    def first(self, elapsed: float) -> float:
        """
        Return the seconds to the first poll.

        :param elapsed: seconds since the submit. A wait that starts after the first poll was due polls within one
            interval.
        """
        return self._due - elapsed if elapsed < self._due else self.phase * self._interval(elapsed)

    def next(self, elapsed: float) -> float:
        """
        Return the seconds to the next poll.

        :param elapsed: seconds since the submit.
        """
        if self.poll_interval is None and elapsed < self._due:
            return max(MIN_INTERVAL, self._due - elapsed)  # the estimate has grown since the previous poll
        return self._interval(elapsed)

    @property
    def _due(self) -> float:
        """Seconds from the submit to the first poll."""
        if self.poll_interval is not None or self.estimate is None:
            due = _FIRST_POLL if self.poll_interval is None else self.poll_interval
            shift = _PHASE_SHARE * due
        else:
            due = self.estimate.first_poll
            shift = min(_PHASE_SHARE * due, self.estimate.interval / 2)
        return max(MIN_INTERVAL, due + shift * (2 * self.phase - 1))

    def _interval(self, elapsed: float) -> float:
        if self.poll_interval is not None:
            return max(MIN_INTERVAL, self.poll_interval)
        interval = self.estimate.interval if self.estimate else 0.0
        if self.estimate is None or elapsed > self.estimate.maximum:
            interval = max(interval, _FIRST_POLL, _SHARE_OF_ELAPSED * elapsed)
        return max(MIN_INTERVAL, min(MAX_INTERVAL, interval))


def phase_of(request_id: str) -> float:
    """Return a number from 0 to 1 that depends on the request id only, so it is the same in every process."""
    return int.from_bytes(hashlib.blake2b(request_id.encode(), digest_size=4).digest()) / 2**32


def clip(pause: float, *, now: float, deadline: float) -> float:
    """
    Return a pause (seconds) shortened so that it ends at the deadline at the latest.

    :param now: the current time (epoch seconds).
    :param deadline: epoch seconds.
    """
    return max(0.0, min(pause, deadline - now))
