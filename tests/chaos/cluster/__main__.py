"""
A cluster for experiments: make cluster-up, cluster-status, cluster-kill NAME=worker-1, cluster-down.

It runs detached, with its data in .cluster/. A part that is killed is started again after a few seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # Airflow brings it
from rich.console import Console
from rich.table import Table

from demo.processes import marked, stop_marked
from tests.chaos.cluster.cluster import HOME, Cluster, missing
from tests.chaos.cluster.events import RESTART

#: Beside the home, because a start empties the home.
STATUS, LOG = HOME.with_name(".cluster-status.json"), HOME.with_name(".cluster.log")
START_SECONDS = 240
console = Console()


def main() -> int:
    """Run the command."""
    command = argparse.ArgumentParser(prog="python -m tests.chaos.cluster", description=__doc__)
    verbs = command.add_subparsers(dest="verb", required=True)
    for name, does in VERBS.items():
        verb = verbs.add_parser(name, help=does.__doc__)
        verb.set_defaults(does=does)
        if name == "kill":
            verb.add_argument("name", choices=Cluster.parts)
    arguments = command.parse_args()
    return int(arguments.does(arguments))


def up(_: argparse.Namespace) -> int:
    """Start the cluster, and return when all parts are healthy."""
    if lacks := missing():
        console.print(f"The cluster cannot start: {lacks}")
        return 1
    if marked(HOME):
        console.print("The cluster is already running: make cluster-status")
        return 1
    STATUS.unlink(missing_ok=True)
    with LOG.open("w") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.cluster", "keep"], stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + START_SECONDS
    while not STATUS.exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            console.print(LOG.read_text()[-4000:])
            return 1
        time.sleep(0.5)
    return status(_)


def keep(_: argparse.Namespace) -> int:
    """Run the cluster in the foreground until SIGTERM or Ctrl-C."""
    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    with Cluster(HOME, dags=("chaos_many",), emulator_options=("--latency", "20")) as cluster:
        while not over.is_set():
            STATUS.write_text(json.dumps({**cluster.status(), "keeper": psutil.Process().pid}, indent=1))
            over.wait(RESTART)
            if not over.is_set():
                cluster.check_running()
    STATUS.unlink(missing_ok=True)
    return 0


def down(_: argparse.Namespace) -> int:
    """Stop the cluster."""
    if found := _status():
        with contextlib.suppress(psutil.NoSuchProcess):
            keeper = psutil.Process(found["keeper"])
            keeper.terminate()
            keeper.wait(timeout=60)
    left = stop_marked(HOME)
    STATUS.unlink(missing_ok=True)
    return 1 if left else 0


def status(_: argparse.Namespace) -> int:
    """Print the processes and addresses."""
    found = _status()
    if not found:
        console.print("The cluster is not running: make cluster-up")
        return 1
    table = Table("part", "process", "state")
    for name, pid in found["parts"].items():
        table.add_row(name, str(pid), "runs" if psutil.pid_exists(pid) else "died, restarts soon")
    console.print(table)
    for name in ("airflow", "emulator", "gateway", "postgres", "redis", "home"):
        console.print(f"{name}: {found[name]}", soft_wrap=True)
    return 0


def kill(arguments: argparse.Namespace) -> int:
    """Send SIGKILL to one part and all of its children."""
    found = _status()
    if not found:
        console.print("The cluster is not running: make cluster-up")
        return 1
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(found["parts"][arguments.name])
        for one in (*process.children(recursive=True), process):
            _kill(one)
    return 0


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def _status() -> dict[str, Any] | None:
    return json.loads(Path(STATUS).read_text()) if STATUS.exists() else None


VERBS = {"up": up, "keep": keep, "down": down, "status": status, "kill": kill}

if __name__ == "__main__":
    sys.exit(main())
