"""The commands as somebody types them: processes of their own, with an Airflow that has no database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_segmind.emulator import Emulator

ROOT = Path(__file__).parents[2]
MODULE = (sys.executable, "-m", "airflow_provider_segmind")
AIRFLOW = (str(Path(sys.executable).with_name("airflow")), "segmind")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def environment(home: Path, emulator: Emulator | None = None) -> dict[str, str]:
    """A machine with nothing but a key: no Airflow set up, and the gateway is the emulator."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "SEGMIND_"))}
    kept |= {"AIRFLOW_HOME": str(home / "airflow"), "PYTHONPATH": str(ROOT), "NO_PROXY": "*"}
    if emulator is not None:
        kept |= {"SEGMIND_API_KEY": emulator.api_key, "SEGMIND_GATEWAY": emulator.url}
    return kept


def start(words: tuple[str, ...], *, cwd: Path, env: dict[str, str]) -> subprocess.Popen[str]:
    """Start a command, with its outputs as pipes; Ctrl-C reaches it also where the tests run in the background."""
    return subprocess.Popen(
        words,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def segmind(*words: str, cwd: Path, env: dict[str, str], program: tuple[str, ...] = MODULE) -> Done:
    """Run a command to its end."""
    done = subprocess.run([*program, *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=180)
    return Done(done.returncode, done.stdout, done.stderr)
