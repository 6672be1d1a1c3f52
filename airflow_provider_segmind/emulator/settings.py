"""How an emulator behaves: one plain record, filled by the command line, by a test or by a marker."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

EXAMPLE_KEY = "SG_0123456789abcdef"
HOUR = 3600.0
DAY = 24 * HOUR


@dataclass(frozen=True)
class Latency:
    """How long a job takes from submission to its end, in seconds."""

    law: str
    first: float
    second: float = 0.0

    @classmethod
    def parse(cls, text: str | float) -> Latency:
        """Read ``0.2``, ``uniform:LOW:HIGH`` or ``lognormal:MEDIAN:SIGMA``."""
        law, *numbers = str(text).strip().split(":")
        try:
            values = [float(number) for number in numbers]
            if not values:
                latency = cls("constant", float(law))
            elif law in ("uniform", "lognormal") and len(values) == 2:
                latency = cls(law, *values)
            else:
                raise ValueError(text)
        except ValueError:
            raise ValueError(
                f"latency {text!r} is none of: SECONDS, uniform:LOW:HIGH, lognormal:MEDIAN:SIGMA"
            ) from None
        if not (math.isfinite(latency.first) and math.isfinite(latency.second)):
            raise ValueError(f"latency {text!r} is not finite")
        if min(latency.first, latency.second) < 0 or (law == "lognormal" and latency.first == 0):
            raise ValueError(f"latency {text!r} has a number that is too small")
        if law == "uniform" and latency.second < latency.first:
            raise ValueError(f"latency {text!r} ends before it begins")
        return latency

    def draw(self, rng: random.Random) -> float:
        """One duration in seconds."""
        if self.law == "uniform":
            return rng.uniform(self.first, self.second)
        if self.law == "lognormal":
            return rng.lognormvariate(math.log(self.first), self.second)
        return self.first


@dataclass
class Settings:
    """Every knob, with the contract's own values as defaults. Durations are in seconds."""

    api_key: str = EXAMPLE_KEY
    """Accepted besides any key of the usual shape, ``SG_`` and 16 hex digits."""
    latency: str | float = 0.0
    queue_share: float = 0.2
    """The part of a job's latency that it spends QUEUED."""
    credits: float = 100.0
    free_credits: float = 0.0
    balance_record: bool = True
    """False: reading the credits answers 404, as for an account without a balance record."""
    retention: float = HOUR
    """How long a request can be read, counted from its submission."""
    output_retention: float = 7 * DAY
    history_delay: float = 0.0
    """How long after its submission a request appears in the request history."""
    history_page: int | None = None
    """Rows of one page of the history at most, whatever was asked for; None: as asked."""
    history_rows: int = 1
    """Rows of a completed request in the history: Segmind lists one for each output, each with the whole cost."""
    history_pending: bool = False
    """Whether completed requests stay PENDING in the history, without an output."""
    history_relative: bool = False
    """Whether the output URLs in the history are relative: a path without a host."""
    team: bool = False
    """Whether all keys belong to one team: the history's list shows the requests of all of them. One row, and a
    request's status and result, are still found only by the key that submitted it."""
    clock_skew: float = 0.0
    """By how much the emulator's clock is ahead of this machine's (negative: behind). The ``Date`` header and the
    times in the history are its own clock's."""
    rate_limit: int | None = None
    """Submissions per key and window; None: no limit."""
    rate_window: float = 60.0
    rate_limit_polls: bool = False
    """Whether status and result reads count against the limit too."""
    upload_key: str = "file_urls"
    """``file_urls``, as the vendor's SDK reads it, or ``urls``, as the documentation says."""
    extra_models: tuple[str, ...] = ()
    faults: str = ""
    """Faults that hold from the start, in the grammar of the command line."""
    seed: int = 0
    """Seeds latencies and fault probabilities, so that a run can be repeated."""
    fetch_timeout: float = 10.0

    def __post_init__(self) -> None:
        Latency.parse(self.latency)
        if not 0 <= self.queue_share <= 1:
            raise ValueError(f"queue_share must be between 0 and 1, not {self.queue_share}")
        if self.upload_key not in ("file_urls", "urls"):
            raise ValueError(f"upload_key must be 'file_urls' or 'urls', not {self.upload_key!r}")
        for name in ("history_page", "history_rows"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if not math.isfinite(self.clock_skew):
            raise ValueError(f"clock_skew must be finite, not {self.clock_skew}")
        if self.rate_limit is not None and self.rate_limit < 0:
            raise ValueError(f"rate_limit must not be negative, got {self.rate_limit}")
