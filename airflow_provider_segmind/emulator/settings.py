"""The settings of an emulator, from the command line, a test or a marker."""

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
    """The distribution of a job's duration, from the submit to its end, in seconds."""

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
                f"latency must be SECONDS, uniform:LOW:HIGH or lognormal:MEDIAN:SIGMA (got {text!r})"
            ) from None
        if not (math.isfinite(latency.first) and math.isfinite(latency.second)):
            raise ValueError(f"latency must be finite (got {text!r})")
        if min(latency.first, latency.second) < 0 or (law == "lognormal" and latency.first == 0):
            raise ValueError(
                f"latency must not be negative, and the median of lognormal must be above 0 (got {text!r})"
            )
        if law == "uniform" and latency.second < latency.first:
            raise ValueError(f"latency: HIGH must not be less than LOW (got {text!r})")
        return latency

    def draw(self, rng: random.Random) -> float:
        """Return one duration in seconds."""
        if self.law == "uniform":
            return rng.uniform(self.first, self.second)
        if self.law == "lognormal":
            return rng.lognormvariate(math.log(self.first), self.second)
        return self.first


@dataclass
class Settings:
    """All settings. The defaults are those of Segmind's API. Durations are in seconds."""

    api_key: str = EXAMPLE_KEY
    """Accepted in addition to any key of the usual form, ``SG_`` and 16 hex digits."""
    latency: str | float = 0.0
    queue_share: float = 0.2
    """The share of the latency that a request spends QUEUED, from 0 to 1."""
    credits: float = 100.0
    free_credits: float = 0.0
    balance_record: bool = True
    """False: reading the credits returns 404, as for an account without a balance record."""
    retention: float = HOUR
    """How long a request can be read, counted from its submit."""
    output_retention: float = 7 * DAY
    history_delay: float = 0.0
    """How long after its submit a request appears in the history."""
    history_page: int | None = None
    """Maximum number of rows in a page of the history, whatever the call asks for; None: as asked."""
    history_rows: int = 1
    """Rows of a completed request in the history: Segmind lists one for each output, each with the total cost."""
    history_pending: bool = False
    """Whether completed requests stay PENDING in the history, without an output."""
    history_relative: bool = False
    """Whether the output URLs in the history are relative: a path without a host."""
    team: bool = False
    """Whether all keys belong to one team: the history lists the requests of all of them. A single row, and the
    status and result of a request, can still be read only with the key that submitted it."""
    clock_skew: float = 0.0
    """How far the emulator's clock is ahead of this machine's clock (negative: behind). The ``Date`` header and the
    times in the history come from the emulator's clock."""
    rate_limit: int | None = None
    """Maximum number of submits per key and window; None: no limit."""
    rate_window: float = 60.0
    rate_limit_polls: bool = False
    """Whether polls and result reads count against the limit, too."""
    upload_key: str = "file_urls"
    """``file_urls``, as the vendor's SDK reads it, or ``urls``, as in Segmind's documentation."""
    extra_models: tuple[str, ...] = ()
    faults: str = ""
    """Faults from the start on, in the grammar of the command line."""
    seed: int = 0
    """Seed of latencies and fault probabilities, so that a run can be repeated."""
    fetch_timeout: float = 10.0

    def __post_init__(self) -> None:
        Latency.parse(self.latency)
        if not 0 <= self.queue_share <= 1:
            raise ValueError(f"queue_share must be between 0 and 1 (got {self.queue_share})")
        if self.upload_key not in ("file_urls", "urls"):
            raise ValueError(f"upload_key must be 'file_urls' or 'urls' (got {self.upload_key!r})")
        for name in ("history_page", "history_rows"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} must be at least 1 (got {value})")
        if not math.isfinite(self.clock_skew):
            raise ValueError(f"clock_skew must be finite (got {self.clock_skew})")
        if self.rate_limit is not None and self.rate_limit < 0:
            raise ValueError(f"rate_limit must not be negative (got {self.rate_limit})")
