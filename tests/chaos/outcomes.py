"""The outcome for an image: tries, submits, and whether the object is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tests.chaos.cases import Case
from tests.chaos.rig import UPSCALED, Rig


@dataclass(frozen=True)
class Outcome:
    """The measurements of one case."""

    case: str
    mode: str
    state: str
    tries: int
    submits: int
    object: str

    def row(self) -> dict[str, Any]:
        """Return the row of the table."""
        return asdict(self)


def outcomes(rig: Rig, dag_id: str, run_id: str, chosen: dict[str, Case]) -> list[Outcome]:
    """Return the outcome of each of these tasks of a run."""
    submits = rig.submits()
    found = []
    instances = {ti["task_id"]: ti for ti in rig.api.instances(dag_id, run_id)}
    for task_id, case in chosen.items():
        ti = instances[task_id]
        done = ti["state"] == "success"
        found.append(
            Outcome(
                case=case.description,
                mode=task_id.partition("_")[0],
                state=ti["state"],
                tries=ti["try_number"],
                submits=submits[f"{run_id}-{case.name}.jpg"],
                object=stored_object(rig.api.returned(dag_id, run_id, task_id)) if done else "none",
            )
        )
    return found


def batch_rows(rig: Rig, dag_id: str, run_id: str, chosen: Sequence[Case]) -> list[dict[str, Any]]:
    """Return a row for each batch of a run; fail if a batch broke the invariant."""
    submits, instances = rig.submits(), {ti["task_id"]: ti for ti in rig.api.instances(dag_id, run_id)}
    rows = []
    for case in chosen:
        made = [image(path) for path in sorted((rig.out / run_id / case.name).glob("*.jpg"))]
        rows.append(
            {
                "case": case.description,
                "state": instances[case.name]["state"],
                "tries": instances[case.name]["try_number"],
                "submits": [submits[f"{run_id}-{case.name}-{number}.jpg"] for number in range(6)],
                "object": "whole" if made == ["whole"] * 6 else str(made),
            }
        )
    wrong = [row for row in rows if (row["state"], row["submits"], row["object"]) != ("success", [1] * 6, "whole")]
    assert not wrong, "\n".join(map(str, wrong))
    return [row | {"submits": 1} for row in rows]


def waits_outlive(rig: Rig, run_id: str, description: str, act: Callable[[Rig, str], None]) -> list[Outcome]:
    """Disturb Airflow while three tasks are deferred, and return their outcomes."""
    rig.api.trigger_dag("chaos_wait", run_id)
    rig.wait_until_deferred("chaos_wait", run_id, seconds=120)
    act(rig, run_id)
    state = rig.finish("chaos_wait", run_id, seconds=300)
    found = outcomes(
        rig, "chaos_wait", run_id, {f"wait_{number}": Case(str(number), description, None) for number in range(3)}
    )
    once_and_whole(found)
    assert state == "success"
    assert not left_over(rig, run_id)
    return found


def restart(component: str) -> Callable[[Rig, str], None]:
    """Return a function that sends SIGKILL to a part of Airflow and starts it again."""

    def act(rig: Rig, run_id: str) -> None:
        rig.kill_component(component)
        rig.start_component(component)

    return act


def logs_of(rig: Rig, dag_id: str, run_id: str, task_id: str = "*", *, attempt: str) -> dict[str, str]:
    """Return the logs of the tasks of a run and of their triggers, by task id; ``attempt`` is a pattern."""
    found: dict[str, str] = {}
    where = f"dag_id={dag_id}/run_id={run_id}/task_id={task_id}/attempt={attempt}.log*"
    for path in sorted((rig.path / "logs").glob(where)):
        name = path.parent.name.removeprefix("task_id=")
        found[name] = found.get(name, "") + path.read_text(errors="replace")
    return found


def once_and_whole(found: list[Outcome]) -> None:
    """Assert that each task succeeded with one submit and a whole object."""
    wrong = [one for one in found if (one.state, one.submits, one.object) != ("success", 1, "whole")]
    assert not wrong, "\n".join(map(str, wrong))


def stored_object(value: dict[str, Any]) -> str:
    """Return ``whole``, or what is wrong with the object that a task delivered."""
    [stored] = value["stored"]
    path = Path(stored["uri"].removeprefix("file://"))
    if not path.exists():
        return "missing"
    if hashlib.sha256(path.read_bytes()).hexdigest() != stored["sha256"]:
        return "the sha256 differs from the XCom"
    return image(path, (stored["width"], stored["height"]))


def image(path: Path, size: tuple[int, int] = UPSCALED) -> str:
    """Return ``whole``, or what is wrong with an image."""
    if not path.exists():
        return "missing"
    try:
        with Image.open(path) as opened:
            opened.load()
            return "whole" if opened.size == size else f"{opened.size} pixels"
    except (OSError, SyntaxError) as error:
        return f"broken: {error}"


def left_over(rig: Rig, run_id: str) -> list[str]:
    """Return the names of unfinished files in the destination of a run."""
    return sorted(path.name for path in (rig.out / run_id).rglob("*.part"))


def killed(rig: Rig, dag_id: str, run_id: str) -> set[str]:
    """Return the ids of the tasks whose process killed itself in this run."""
    prefix = f"{dag_id}.{run_id}."
    return {mark.name.removeprefix(prefix) for mark in (rig.path / "marks").glob(f"{prefix}*")}
