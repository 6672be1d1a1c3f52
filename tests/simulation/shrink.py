"""Shrink a failing schedule: put zeros, the harmless decisions, wherever it still fails in the same way."""

from __future__ import annotations

from tests.simulation.schedule import Outcome, run

_MOST_RUNS = 3000


def shrunk(seed: int) -> Outcome:
    """Return the smallest schedule that violates the same invariant as a seed does, with its story."""
    first = run(seed)
    kinds = {what.partition(":")[0] for what in first.violations}
    script = list(first.world.decisions)
    runs = 0

    def fails(candidate: list[int]) -> bool:
        nonlocal runs
        runs += 1
        return bool(kinds & {what.partition(":")[0] for what in run(0, candidate).violations})

    if kinds and fails(script):
        size = len(script) // 2
        while size and runs < _MOST_RUNS:
            start = 0
            while start < len(script) and runs < _MOST_RUNS:
                part = script[start : start + size]
                zeros = [*script[:start], *([0] * len(part)), *script[start + size :]]
                if any(part) and fails(zeros):
                    script = zeros
                start += size
            size //= 2
    return run(0, script, reports=True)
