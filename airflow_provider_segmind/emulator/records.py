"""What tests read from the emulator: counters and requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelStats:
    """The counters of one model."""

    attempted: int = 0
    accepted: int = 0
    polls: int = 0
    results: int = 0
    billed: int = 0
    credits_spent: float = 0.0

    @classmethod
    def of(cls, counts: dict[str, float]) -> ModelStats:
        """Return the counters of a model from raw counters."""
        return cls(
            attempted=int(counts["submits_attempted"]),
            accepted=int(counts["submits_accepted"]),
            polls=int(counts["polls"]),
            results=int(counts["results"]),
            billed=int(counts["billed"]),
            credits_spent=round(counts["credits_spent"], 6),
        )


@dataclass(frozen=True)
class Stats:
    """A snapshot of the counters. ``submits_attempted`` includes refused calls and calls with a fault."""

    submits_attempted: int = 0
    submits_accepted: int = 0
    sync_calls: int = 0
    """Submits over the blocking route. They are included in ``submits_attempted``."""
    polls: int = 0
    results: int = 0
    billed: int = 0
    credits_spent: float = 0.0
    remaining_credits: float = 0.0
    downloads: int = 0
    uploads: int = 0
    credits_reads: int = 0
    history_reads: int = 0
    rate_limited: int = 0
    faults_fired: int = 0
    keys_seen_on_downloads: int = 0
    """Downloads of an output, a sample or an uploaded file that carried a key. Clients must not send it there."""
    keys_seen_elsewhere: int = 0
    """Calls that carried a key to a path outside the API, such as the target of a redirect."""
    by_model: dict[str, ModelStats] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordedRequest:
    """One accepted request. It never contains a key."""

    request_id: str
    model: str
    parameters: dict[str, Any]
    """As sent, without defaults."""
    status: str
    polls: int
    results: int
    billed: bool
    submitted_at: float
    user_agent: str
