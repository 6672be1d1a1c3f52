"""SIGKILL at every place: the run succeeds, each image is submitted once, and its object is whole."""

from __future__ import annotations

import time

import pytest

from airflow_provider_segmind.protocol.history import ABSENCE_MARGIN
from tests.chaos.cases import BATCH_CASES, CASES, COMPARED, DROPPED, FAST, LOST, NOT_ACCEPTED, cases
from tests.chaos.outcomes import (
    batch_rows,
    image,
    killed,
    left_over,
    logs_of,
    once_and_whole,
    outcomes,
    restart,
    waits_outlive,
)
from tests.chaos.rig import Rig


@pytest.mark.chaos
@pytest.mark.parametrize("mode", ["deferrable", "plain"])
def test_each_image_is_billed_once(rig, measure, mode):
    rig.emulator("faults", "POST", faults="submit:drop_after#1%nomos-upscaler")
    dag_id, run_id = f"chaos_{mode}", mode
    chosen = {f"{mode}_{case.name}": case for case in (*cases(mode), DROPPED)}
    state = rig.run(dag_id, run_id, seconds=300)
    found = outcomes(rig, dag_id, run_id, chosen)
    measure("kills", [one.row() for one in found])
    once_and_whole(found)
    assert state == "success"
    assert killed(rig, dag_id, run_id) == {task_id for task_id, case in chosen.items() if case.kill}
    assert {one.tries for one in found if one.case != DROPPED.description} == {2}
    # A process that dies while it writes leaves a temporary object, which no reader uses.
    assert not [name for name in left_over(rig, run_id) if "before_publish" not in name]


def _clear(rig: Rig, run_id: str) -> None:
    rig.api.clear("chaos_wait", run_id)


WAITING = {
    "cleared": ("the task is cleared while it is deferred", _clear),
    "triggerer": ("the triggerer is killed while it waits, and started again", restart("triggerer")),
    "scheduler": ("the scheduler is killed while it waits, and started again", restart("scheduler")),
}


@pytest.mark.chaos
@pytest.mark.parametrize("what", list(WAITING))
def test_a_part_dies_while_tasks_wait(rig, measure, what):
    description, act = WAITING[what]
    rows = [one.row() | {"mode": "deferrable"} for one in waits_outlive(rig, f"wait-{what}", description, act)]
    measure("kills", rows[:1] if all(row == rows[0] for row in rows) else rows)


@pytest.mark.chaos
def test_a_batch_continues_wherever_it_was_killed(rig, measure):
    state = rig.run("chaos_batch", "batch", seconds=240)
    measure("batch kills", batch_rows(rig, "chaos_batch", "batch", BATCH_CASES))
    assert state == "success"
    assert killed(rig, "chaos_batch", "batch") == {case.name for case in BATCH_CASES}
    # A process that dies while it writes leaves hidden parts, one per thread, which are not objects.
    assert all(".batch-batch_storing-" in part for part in left_over(rig, "batch"))


@pytest.mark.chaos
def test_a_submit_with_an_unknown_outcome_is_left_to_the_user(rig):
    """Each try searches again, and nothing is billed."""
    assert rig.run("chaos_lost", "lost", seconds=120) == "failed"
    [ti] = rig.api.instances("chaos_lost", "lost")
    assert (ti["try_number"], rig.submits()["lost-lost.jpg"]) == (4, 0)
    reported = "\n".join(reported for _, reported in rig.task_errors())
    assert "the request history does not show the submit" in reported


@pytest.mark.chaos
def test_a_later_request_shows_that_a_submit_was_never_accepted(rig, measure):
    """With the default arguments, the next try submits once the history shows a later request."""
    task_id = f"deferrable_{NOT_ACCEPTED.name}"
    rig.api.trigger_dag("chaos_not_accepted", "not_accepted")
    rig.wait("its process dies", lambda: killed(rig, "chaos_not_accepted", "not_accepted"), seconds=60)
    time.sleep(ABSENCE_MARGIN + 2)  # the Date header has whole seconds
    rig.submit("esrgan", image=f"{rig.images.url}/not_accepted-other.jpg")
    state = rig.finish("chaos_not_accepted", "not_accepted", seconds=120)
    found = outcomes(rig, "chaos_not_accepted", "not_accepted", {task_id: NOT_ACCEPTED})
    measure("kills", [one.row() for one in found])
    once_and_whole(found)
    assert (state, found[0].tries) == ("success", 2)
    [log] = logs_of(rig, "chaos_not_accepted", "not_accepted", task_id, attempt="2").values()
    assert "was not accepted: the request history lists later requests only" in log


@pytest.mark.chaos
@pytest.mark.parametrize("peer", ["sdk", "http"])
def test_the_same_kills_for_the_alternatives(rig, measure, peer):
    dag_id = f"chaos_{peer}"
    state = rig.run(dag_id, peer, seconds=300)
    submits, dead = rig.submits(), killed(rig, dag_id, peer)
    measure(
        "peers",
        [
            {
                "peer": peer,
                "case": case,
                "submits": submits[f"{peer}-{case}.jpg"],
                "object": image(rig.out / peer / f"{case}.jpg"),
            }
            for case in COMPARED
        ],
    )
    assert state == "success"
    assert len(dead) == len(COMPARED)


def test_every_case_is_listed_once():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    assert set(FAST) <= set(names)


def test_every_target_of_a_kill_exists():
    kills = [case.kill for case in (*CASES, *BATCH_CASES, LOST, NOT_ACCEPTED) if case.kill]
    assert all(callable(kill.real) for kill in kills)
