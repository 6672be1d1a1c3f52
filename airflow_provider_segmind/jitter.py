"""Random delays, so that tasks that wait for the same moment do not continue together."""

from __future__ import annotations

import random


def spread(seconds: float) -> float:
    """
    Return the seconds to wait for a rate limit: 0.05 to 1.5 s longer, so that tasks are spread after the reset.

    :param seconds: until the reset.
    """
    return seconds + random.uniform(0.05, 1.5)  # noqa: S311
