"""What became of a picture: tries, submits, and whether the object is whole."""

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
    """One case, as measured."""

    case: str
    mode: str
    state: str
    tries: int
    submits: int
    object: str

    def row(self) -> dict[str, Any]:
        """For the table."""
        return asdict(self)


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
                case=case.reports,
                mode=task_id.partition("_")[0],
                state=ti["state"],
                tries=ti["try_number"],
                submits=submits[f"{run_id}-{case.name}.jpg"],
                object=stored_object(rig.api.returned(dag_id, run_id, task_id)) if done else "none",
            )
        )
    return found


def batch_rows(rig: Rig, dag_id: str, run_id: str, chosen: Sequence[Case]) -> list[dict[str, Any]]:
    """Look at what each batch of a run did, one row a batch; raise where one breaks the promise."""
    submits, instances = rig.submits(), {ti["task_id"]: ti for ti in rig.api.instances(dag_id, run_id)}
    rows = []
    for case in chosen:
        made = [image(path) for path in sorted((rig.out / run_id / case.name).glob("*.jpg"))]
        rows.append(
            {
                "case": case.reports,
                "state": instances[case.name]["state"],
                "tries": instances[case.name]["try_number"],
                "submits": [submits[f"{run_id}-{case.name}-{number}.jpg"] for number in range(6)],
                "object": "whole" if made == ["whole"] * 6 else str(made),
            }
        )
    wrong = [row for row in rows if (row["state"], row["submits"], row["object"]) != ("success", [1] * 6, "whole")]
    assert not wrong, "\n".join(map(str, wrong))
    return [row | {"submits": 1} for row in rows]


def waits_outlive(rig: Rig, run_id: str, reports: str, act: Callable[[Rig, str], None]) -> list[Outcome]:
    """Do something to Airflow while three tasks are deferred, and look at what they did."""
    rig.api.trigger_dag("chaos_wait", run_id)
    rig.wait_until_deferred("chaos_wait", run_id, seconds=120)
    act(rig, run_id)
    state = rig.finish("chaos_wait", run_id, seconds=300)
    found = outcomes(
        rig, "chaos_wait", run_id, {f"wait_{number}": Case(str(number), reports, None) for number in range(3)}
    )
    once_and_whole(found)
    assert state == "success"
    assert not left_over(rig, run_id)
    return found


def restart(component: str) -> Callable[[Rig, str], None]:
    """SIGKILL a part of Airflow, and start it again."""

    def act(rig: Rig, run_id: str) -> None:
        rig.kill_component(component)
        rig.start_component(component)

    return act


def logs_of(rig: Rig, dag_id: str, run_id: str, task_id: str = "*", *, attempt: str) -> dict[str, str]:
    """What the tasks of a run logged in a try (a pattern), with what their triggers did, by task id."""
    found: dict[str, str] = {}
    where = f"dag_id={dag_id}/run_id={run_id}/task_id={task_id}/attempt={attempt}.log*"
    for path in sorted((rig.path / "logs").glob(where)):
        name = path.parent.name.removeprefix("task_id=")
        found[name] = found.get(name, "") + path.read_text(errors="replace")
    return found


def once_and_whole(found: list[Outcome]) -> None:
    """The promise."""
    wrong = [one for one in found if (one.state, one.submits, one.object) != ("success", 1, "whole")]
    assert not wrong, "\n".join(map(str, wrong))


def stored_object(value: dict[str, Any]) -> str:
    """Say ``whole``, or what is wrong with the object that a task handed on."""
    [stored] = value["stored"]
    path = Path(stored["uri"].removeprefix("file://"))
    if not path.exists():
        return "missing"
    if hashlib.sha256(path.read_bytes()).hexdigest() != stored["sha256"]:
        return "another sha256 than XCom says"
    return image(path, (stored["width"], stored["height"]))


def image(path: Path, size: tuple[int, int] = UPSCALED) -> str:
    """Say ``whole``, or what is wrong with a picture."""
    if not path.exists():
        return "missing"
    try:
        with Image.open(path) as opened:
            opened.load()
            return "whole" if opened.size == size else f"{opened.size} pixels"
    except (OSError, SyntaxError) as error:
        return f"broken: {error}"


def left_over(rig: Rig, run_id: str) -> list[str]:
    """Names of unfinished files where the tasks of a run store."""
    return sorted(path.name for path in (rig.out / run_id).rglob("*.part"))


def killed(rig: Rig, dag_id: str, run_id: str) -> set[str]:
    """Task ids whose process really killed itself in this run."""
    prefix = f"{dag_id}.{run_id}."
    return {mark.name.removeprefix(prefix) for mark in (rig.path / "marks").glob(f"{prefix}*")}
