"""When the many that wait for the same moment go on."""

from __future__ import annotations

import random


def spread(seconds: float) -> float:
    """Return the seconds to wait for a rate limit: many tasks wait for the same reset, and go on spread over 1.5 s."""
    return seconds + random.uniform(0.05, 1.5)  # noqa: S311
