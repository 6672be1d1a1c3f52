"""
The commands as a user types them: called in this process (``call``), or as processes of their own.

A process imports Airflow for seconds, so only the tests that need a process start one: see test_processes.py.
"""

from __future__ import annotations

import io
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import pytest

if TYPE_CHECKING:
    from airflow_provider_segmind.emulator import Emulator

ROOT = Path(__file__).parents[2]
MODULE = (sys.executable, "-m", "airflow_provider_segmind")
AIRFLOW = (str(Path(sys.executable).with_name("airflow")), "segmind")


@dataclass(frozen=True)
class Done:
    """Exit code and output of a command that has ended."""

    code: int
    out: str
    err: str


def environment(home: Path, emulator: Emulator | None = None) -> dict[str, str]:
    """Return an environment with a key only: no Airflow is set up, and the gateway is the emulator."""
    foreign = ("AIRFLOW", "_AIRFLOW", "SEGMIND_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    kept |= {"AIRFLOW_HOME": str(home / "airflow"), "PYTHONPATH": str(ROOT), "NO_PROXY": "*"}
    if emulator is not None:
        kept |= {"SEGMIND_API_KEY": emulator.api_key, "SEGMIND_GATEWAY": emulator.url}
    return kept


# --- in this process ----------------------------------------------------------------------------------------------

#: A program: takes its arguments, returns its exit code.
Program = Callable[[Sequence[str]], int]


def module(typed: Sequence[str]) -> int:
    """Run ``python -m airflow_provider_segmind``."""
    from airflow_provider_segmind.cli.main import main

    return main(typed)


def airflow(typed: Sequence[str]) -> int:
    """Run ``airflow segmind``."""
    from airflow.cli.cli_parser import get_parser

    args = get_parser().parse_args(["segmind", *typed])
    args.func(args)
    return 0


def call(*typed: str, cwd: Path, env: dict[str, str], program: Program = module) -> Done:
    """Run a command in this process, and restore what it changes here."""
    import airflow  # noqa: F401  # its log handler takes the current stdout

    out, err = io.StringIO(), io.StringIO()
    with (
        _log_restored(out),
        _signals_restored(),
        mock.patch.dict(os.environ, _without_other_settings(env), clear=True),
        warnings.catch_warnings(),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.chdir(cwd)
        _make_consoles(patch)
        code = _exit_code(program, typed)
    return Done(code, out.getvalue(), err.getvalue())


def _exit_code(program: Program, typed: Sequence[str]) -> int:
    """Return the exit code as the interpreter does."""
    try:
        return program(typed)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
    except Exception:  # noqa: BLE001
        traceback.print_exc()
    return 1


def _without_other_settings(env: dict[str, str]) -> dict[str, str]:
    """Return an environment with the Airflow settings that this process has already read: they cannot change."""

    def is_setting(name: str) -> bool:
        return name.startswith("AIRFLOW_") and not name.startswith("AIRFLOW_CONN_")

    return {
        **{name: value for name, value in env.items() if not is_setting(name)},
        **{name: value for name, value in os.environ.items() if is_setting(name) or name == "PYTEST_VERSION"},
    }


def _make_consoles(patch: pytest.MonkeyPatch) -> None:
    """Make the two consoles again: Rich reads the terminal, its colours and width when a console is made."""
    from airflow_provider_segmind.cli import console

    patch.setattr(console.OUT, "__dict__", vars(console._console(stderr=False)))
    patch.setattr(console.ERR, "__dict__", vars(console._console(stderr=True)))


@contextmanager
def _log_restored(out: io.StringIO) -> Iterator[None]:
    """Send Airflow's log to this stdout, as in a new process; afterwards restore handlers and levels."""
    root, known = logging.getLogger(), logging.root.manager.loggerDict
    levels = {name: logging.getLogger(name).level for name in list(known)}
    handlers = root.handlers[:]
    streams = [(handler, handler.stream) for handler in handlers if type(handler) is logging.StreamHandler]
    for handler, _ in streams:
        handler.stream = out  # setStream would flush a stream that pytest may have closed
    try:
        yield
    finally:
        root.handlers[:] = handlers
        for handler, stream in streams:
            handler.stream = stream
        for name in list(known):
            logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))


@contextmanager
def _signals_restored() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


# --- as processes -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Started:
    """A running command, with its outputs in files, which a test can read at any time."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text(encoding="utf-8")

    def until(self, condition: Callable[[], bool], seconds: float = 120) -> None:
        """Wait for a condition; fail with the command's output if the command ends or the deadline passes first."""
        deadline = time.monotonic() + seconds
        while not condition():
            ended = self.process.poll() is not None
            if (ended and not condition()) or time.monotonic() > deadline:
                why = f"ended with {self.process.returncode}" if ended else f"condition not met within {seconds:g} s"
                pytest.fail(f"{why}; stdout:\n{self.out}\nstderr:\n{self.err}")
            time.sleep(0.02)

    def match(self, pattern: str, *, in_err: bool = False) -> re.Match[str]:
        """Wait until the output of the command matches a pattern, and return the match."""

        def found() -> re.Match[str] | None:
            return re.search(pattern, self.err if in_err else self.out, re.M)

        self.until(lambda: found() is not None)
        matched = found()
        assert matched is not None
        return matched

    def end(self, number: signal.Signals | None = None, seconds: float = 120) -> Done:
        """Wait until the command ends, after a signal if one is given."""
        if number is not None:
            self.process.send_signal(number)
        self.until(lambda: self.process.poll() is not None, seconds)
        return Done(self.process.returncode, self.out, self.err)


@contextmanager
def started(*typed: str, cwd: Path, env: dict[str, str], program: Sequence[str] = MODULE) -> Iterator[Started]:
    """Start a command; Ctrl-C reaches it even if the tests run in the background."""
    with tempfile.TemporaryDirectory(prefix="segmind-outputs-") as name:
        folder = Path(name)
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            process = subprocess.Popen(
                [*program, *typed],
                cwd=cwd,
                env=env,
                stdout=out,
                stderr=err,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        try:
            yield Started(process, folder)
        finally:
            process.kill()
            process.wait()


def as_process(*typed: str, cwd: Path, env: dict[str, str], program: Sequence[str] = MODULE) -> Done:
    """Run a command as a process until it ends."""
    with started(*typed, cwd=cwd, env=env, program=program) as command:
        return command.end()
