"""
SIGKILL at an exact call: a DAG file arms its tasks with kills.

Nothing is mocked. A method of the real class is wrapped so that the task process kills itself right before, after or
inside the real call, once for each task of a run. The next try is not killed.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Kill:
    """
    Where a task's process dies.

    :param target: ``module:name`` or ``module:Class.method``.
    :param when: before or after the call; ``response``: after the call is sent, before its response is read;
        ``half``: when half of the first chunk of a download is written.
    :param only: kill only if the text of the arguments contains this, for example the name of a call.
    """

    target: str
    when: Literal["before", "after", "response", "half"] = "before"
    only: str = ""

    @property
    def real(self) -> Any:
        """The function that the target names."""
        owner, name = _find(self.target)
        return getattr(owner, name)


def arm(kills: Mapping[str, Kill]) -> None:
    """Make each of these tasks (by task id) die once in each run. Call it at the top of a DAG file."""
    for target in {kill.target for kill in kills.values()}:
        owner, name = _find(target)
        real = getattr(owner, name)
        if not hasattr(real, "armed"):
            real = _wrapped(real)
            setattr(owner, name, real)
        real.armed.update({task: kill for task, kill in kills.items() if kill.target == target})


def kill_once() -> None:
    """Kill this process, unless this task of this run was killed before."""
    mark = Path(os.environ["CHAOS_MARKS"]) / f"{_now('DAG_ID')}.{_now('DAG_RUN_ID')}.{_now('TASK_ID')}"
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def _now(what: str) -> str:
    """Return a variable that Airflow sets for the task that runs in this process."""
    return os.environ.get(f"AIRFLOW_CTX_{what}", "")


def _find(target: str) -> tuple[Any, str]:
    module, _, path = target.partition(":")
    *outer, name = path.split(".")
    return functools.reduce(getattr, outer, importlib.import_module(module)), name


def _wrapped(real: Callable[..., Any]) -> Any:
    armed: dict[str, Kill] = {}

    @functools.wraps(real)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        kill = armed.get(_now("TASK_ID"))
        if kill is None or (kill.only and kill.only not in f"{args[1:]} {kwargs}"):
            return real(*args, **kwargs)
        if kill.when == "before":
            kill_once()
        if kill.when == "half":  # (response, target, ...)
            args = (args[0], _DiesHalfWay(args[1]), *args[2:])
        result = real(*args, **kwargs)
        if kill.when == "after":
            kill_once()
        if kill.when == "response":  # the arguments of an httpx request: httpcore reports its next step to "trace"
            result = result | {"extensions": {"trace": _at_the_response}}
        return result

    wrapped.armed = armed  # type: ignore[attr-defined]
    return wrapped


def _at_the_response(event: str, info: Any) -> None:
    if event == "http11.receive_response_headers.started":
        kill_once()


class _DiesHalfWay:
    """A file that kills the process after half of the first chunk."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, piece: bytes) -> int:
        self._file.write(piece[: len(piece) // 2])
        self._file.flush()
        kill_once()
        return int(self._file.write(piece[len(piece) // 2 :]))
