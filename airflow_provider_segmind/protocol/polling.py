"""
When to look next at a request: a pure function of the elapsed time and of what is known of the model.

Segmind has no webhook for model requests, so polling is the only way, and nobody says that polls are free.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds; never look more often than this.
SHORTEST = 0.25
#: Seconds; never look less often than this while a request is due (the vendor advises 5-10 s for long models).
LONGEST = 10.0
#: Before this share of the expected time, looking is rarely worth a poll.
_LOW_END = 0.85
#: Steps, as a share of the expected (or, where nothing is known, of the elapsed) time.
_STEP = 0.1
#: Seconds to the first look where nothing is known of the model: the vendor's advice.
_FIRST = 1.0


@dataclass(frozen=True)
class PollSchedule:
    """
    The schedule of one request.

    :param expected: seconds that the model usually takes, or None where nothing is known.
    :param poll_interval: seconds between looks, fixed; None (default) to go by what is known.
    """

    expected: float | None = None
    poll_interval: float | None = None

    def wait(self, elapsed: float) -> float:
        """Return the seconds to wait before the next look, ``elapsed`` seconds after the submit."""
        if self.poll_interval is not None:
            return max(SHORTEST, self.poll_interval)
        if self.expected is None:
            return min(LONGEST, max(_FIRST, _STEP * elapsed))
        until_due = _LOW_END * self.expected - elapsed
        # The longer it is overdue, the less is known: the steps grow with the time past the expected end.
        step = max(_STEP * self.expected, _STEP * elapsed)
        return max(SHORTEST, until_due if until_due > 0 else min(LONGEST, step))


def clip(wait: float, *, now: float, deadline: float) -> float:
    """Shorten a wait so that it ends at the deadline (both in epoch seconds) at the latest."""
    return max(0.0, min(wait, deadline - now))
