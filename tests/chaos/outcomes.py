"""What became of a picture: tries, submits, and whether the object is whole."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

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


def stored_object(value: dict[str, Any]) -> str:
    """Say ``whole``, or what is wrong with the object that a task handed on."""
    [stored] = value["stored"]
    path = Path(stored["uri"].removeprefix("file://"))
    if not path.exists():
        return "missing"
    if hashlib.sha256(path.read_bytes()).hexdigest() != stored["sha256"]:
        return "another sha256 than XCom says"
    return picture(path, (stored["width"], stored["height"]))


def picture(path: Path, size: tuple[int, int] = UPSCALED) -> str:
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
