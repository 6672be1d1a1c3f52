"""SIGKILL anywhere: the run ends in success, each picture is submitted once, and its object is whole."""

from __future__ import annotations

from typing import Any

import pytest

from tests.chaos.cases import BATCH_CASES, CASES, COMPARED, DROPPED, FAST, Case, cases
from tests.chaos.outcomes import Outcome, killed, left_over, picture, stored_object
from tests.chaos.rig import Rig


def outcomes(rig: Rig, dag_id: str, run_id: str, chosen: dict[str, Case]) -> list[Outcome]:
    """Look at what each task of a run did, by task id."""
    submits = rig.submits()
    found = []
    instances = {ti["task_id"]: ti for ti in rig.api.instances(dag_id, run_id)}
    for task_id, case in chosen.items():
        ti = instances[task_id]
        done = ti["state"] == "success"
        found.append(
            Outcome(
                case=case.says,
                mode=task_id.partition("_")[0],
                state=ti["state"],
                tries=ti["try_number"],
                submits=submits[f"{run_id}-{case.name}.jpg"],
                object=stored_object(rig.api.returned(dag_id, run_id, task_id)) if done else "none",
            )
        )
    return found


def once_and_whole(found: list[Outcome]) -> None:
    """The promise."""
    wrong = [one for one in found if (one.state, one.submits, one.object) != ("success", 1, "whole")]
    assert not wrong, "\n".join(map(str, wrong))


def test_each_picture_is_paid_for_once_fast(rig, measure):
    chosen = {f"deferrable_{case.name}": case for case in cases("deferrable", FAST)}
    state = rig.run("chaos_fast", "fast", seconds=120)
    found = outcomes(rig, "chaos_fast", "fast", chosen)
    measure("fast kills", [one.row() for one in found])
    once_and_whole(found)
    assert state == "success"
    assert killed(rig, "chaos_fast", "fast") == set(chosen)
    assert {one.tries for one in found} == {2}
    assert not left_over(rig, "fast")


def test_the_triggerer_ends_tasks_itself_and_resumes_what_failed(rig):
    """On a real Airflow: success comes without a second worker start, a failure with one."""
    rig.emulator("faults", "POST", faults="submit:fail:out of memory#1%nomos-upscaler")
    dag_id = run_id = "ends_in_the_triggerer"
    assert rig.run(dag_id, run_id, seconds=120) == "failed"
    instances = {ti["task_id"]: ti for ti in rig.api.instances(dag_id, run_id)}
    assert {name: ti["state"] for name, ti in instances.items()} == {
        "first": "success",
        "second": "success",
        "fails": "failed",
        "after_first": "success",
        "after_second": "success",
        "after_fails": "upstream_failed",
    }
    for name in ("first", "second"):
        returned = rig.api.returned(dag_id, run_id, name)
        assert returned["status"] == "COMPLETED"
        assert returned["output"].startswith("http")
        assert rig.api.returned(dag_id, run_id, f"after_{name}") == returned["request_id"]
    assert "out of memory" in "\n".join(said for _, said in rig.task_errors())


@pytest.mark.chaos
@pytest.mark.parametrize("mode", ["deferrable", "plain"])
def test_each_picture_is_paid_for_once(rig, measure, mode):
    rig.emulator("faults", "POST", faults="submit:drop_after#1%nomos-upscaler")
    dag_id, run_id = f"chaos_{mode}", mode
    chosen = {f"{mode}_{case.name}": case for case in (*cases(mode), DROPPED)}
    state = rig.run(dag_id, run_id, seconds=300)
    found = outcomes(rig, dag_id, run_id, chosen)
    measure("kills", [one.row() for one in found])
    once_and_whole(found)
    assert state == "success"
    assert killed(rig, dag_id, run_id) == {task_id for task_id, case in chosen.items() if case.kill}
    assert {one.tries for one in found if one.case != DROPPED.says} == {2}
    # A process that dies while it writes leaves its temporary key, which no reader looks at.
    assert not [name for name in left_over(rig, run_id) if "before_publish" not in name]


def _clear(rig: Rig, run_id: str) -> None:
    rig.api.clear("chaos_wait", run_id)


def _restart(component: str) -> Any:
    def act(rig: Rig, run_id: str) -> None:
        rig.kill_component(component)
        rig.start_component(component)

    return act


WAITING = {
    "cleared": ("the task is cleared while it is deferred", _clear),
    "triggerer": ("the triggerer is killed while it waits, and started again", _restart("triggerer")),
    "scheduler": ("the scheduler is killed while it waits, and started again", _restart("scheduler")),
}


@pytest.mark.chaos
@pytest.mark.parametrize("what", list(WAITING))
def test_what_dies_while_tasks_wait(rig, measure, what):
    says, act = WAITING[what]
    run_id = f"wait-{what}"
    rig.api.trigger_dag("chaos_wait", run_id)
    rig.wait_until_deferred("chaos_wait", run_id)
    act(rig, run_id)
    state = rig.finish("chaos_wait", run_id, seconds=180)
    chosen = {f"wait_{number}": Case(str(number), says, None) for number in range(3)}
    found = outcomes(rig, "chaos_wait", run_id, chosen)
    rows = [one.row() | {"mode": "deferrable"} for one in found]
    measure("kills", rows[:1] if all(row == rows[0] for row in rows) else rows)
    once_and_whole(found)
    assert state == "success"
    assert not left_over(rig, run_id)


@pytest.mark.chaos
def test_a_batch_goes_on_wherever_it_was_killed(rig, measure):
    state = rig.run("chaos_batch", "batch", seconds=240)
    submits, rows = rig.submits(), []
    for case in BATCH_CASES:
        [ti] = [ti for ti in rig.api.instances("chaos_batch", "batch") if ti["task_id"] == case.name]
        made = [picture(path) for path in sorted((rig.out / "batch" / case.name).glob("*.jpg"))]
        rows.append(
            {
                "case": case.says,
                "state": ti["state"],
                "tries": ti["try_number"],
                "submits": [submits[f"batch-{case.name}-{number}.jpg"] for number in range(6)],
                "object": "whole" if made == ["whole"] * 6 else str(made),
            }
        )
    wrong = [row for row in rows if (row["state"], row["submits"], row["object"]) != ("success", [1] * 6, "whole")]
    assert not wrong, "\n".join(map(str, wrong))
    measure("batch kills", [row | {"submits": 1} for row in rows])
    assert state == "success"
    assert killed(rig, "chaos_batch", "batch") == {case.name for case in BATCH_CASES}
    # One that dies while it writes leaves hidden parts, one a thread; nobody mistakes them for an object.
    assert all(".batch-batch_storing-" in part for part in left_over(rig, "batch"))


@pytest.mark.chaos
def test_a_submit_that_nobody_knows_of_is_left_to_a_person(rig):
    assert rig.run("chaos_lost", "lost", seconds=90) == "failed"
    [ti] = rig.api.instances("chaos_lost", "lost")
    assert (ti["try_number"], rig.submits()["lost-lost.jpg"]) == (2, 0)  # the second try fails for good
    said = "\n".join(said for _, said in rig.task_errors())
    assert "the request history does not show it" in said


@pytest.mark.chaos
@pytest.mark.parametrize("peer", ["sdk", "http"])
def test_the_same_kills_for_what_a_user_writes_today(rig, measure, peer):
    dag_id = f"chaos_{peer}"
    state = rig.run(dag_id, peer, seconds=300)
    submits, struck = rig.submits(), killed(rig, dag_id, peer)
    measure(
        "peers",
        [
            {
                "peer": peer,
                "case": case,
                "submits": submits[f"{peer}-{case}.jpg"],
                "object": picture(rig.out / peer / f"{case}.jpg"),
            }
            for case in COMPARED
        ],
    )
    assert state == "success"
    assert len(struck) == len(COMPARED)


def test_every_case_is_listed_once():
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))
    assert set(FAST) <= set(names)
