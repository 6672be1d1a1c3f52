"""The simulated world finds no violation, and every mutation of the rules: ``python -m tests.simulation`` runs more."""

from __future__ import annotations

import pytest

from tests.simulation.__main__ import many, story
from tests.simulation.mutants import MUTANTS
from tests.simulation.schedule import run, silence

#: In parts, so that several workers share them.
SCHEDULES, PARTS = 20_000, 8


@pytest.mark.parametrize("part", range(PARTS))
def test_no_schedule_violates_an_invariant(part):
    size = SCHEDULES // PARTS
    _, faults, _, failed = many(range(part * size, (part + 1) * size))
    assert not failed, story(failed[0])
    assert sum(faults.values()) > size, "a simulation without faults shows nothing"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_wrong_rule_is_found(mutant):
    with silence(), mutant.mutation():
        assert any(run(seed).violations for seed in mutant.seeds(SCHEDULES)), "no schedule finds it"


def test_there_are_enough_mutants():
    assert len(MUTANTS) >= 25
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_a_seed_replays_a_schedule_exactly():
    first, second = run(7, reports=True), run(7, reports=True)
    assert first.world is not None
    assert second.world is not None
    assert first.world.story == second.world.story
    assert first.world.decisions == second.world.decisions
    replayed = run(0, first.world.decisions, reports=True)
    assert replayed.world is not None
    assert replayed.world.story == first.world.story


def test_a_failing_schedule_is_shrunk_and_reported():
    [mutant] = [mutant for mutant in MUTANTS if mutant.name == "14: a 5xx counts as refused"]
    with silence(), mutant.mutation():
        seed = next(seed for seed in range(SCHEDULES) if run(seed).violations)
        reported = story(seed)
    assert "5xx after" in reported
    assert reported.splitlines()[-1].startswith("VIOLATED I1")
    assert len(reported.splitlines()) < 150
