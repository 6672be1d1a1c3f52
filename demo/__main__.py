"""``make demo``: upscale four photos with three models, in a real Airflow, with no key and no network."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from rich.console import Console

from demo import report
from demo.airflow_home import PROJECT, DemoError, Home, wait_for
from demo.api import DAG_ID, Api, emulator_stats
from demo.progress import Board
from demo.sheet import contact_sheet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

PHOTOS = PROJECT / "demo" / "photos"
#: Seconds from submission to the end of a request. The provider looks at bria's after 10 s: its page says 12 s.
LATENCY = "uniform:4:7"
_START, _RUN = 240.0, 600.0  # seconds, for a slow machine
_RUN_ID = "demo"

console = Console()


def live_connection() -> str | None:
    """Return the connection to the real gateway as JSON, where the environment asks for it."""
    key = os.environ.get("SEGMIND_API_KEY", "")
    if os.environ.get("SEGMIND_DEMO_LIVE") != "1":
        return None
    if not key:
        raise DemoError("SEGMIND_DEMO_LIVE=1 needs SEGMIND_API_KEY")
    return json.dumps({"conn_type": "segmind", "password": key})


def start(home: Home, live: str | None) -> Api:
    """Start everything and return the API once the DAG can be run."""
    if live:
        home.connection = live
        console.print("[yellow]Live: this asks Segmind itself, and each output is billed to your key.")
    else:
        home.start_emulator("--latency", LATENCY)
        console.print(f"Emulator on {home.emulator_url}, in place of Segmind")
    home.start_airflow()
    api = Api(home.url)
    with console.status("Airflow starts (some 20 seconds) …"):
        wait_for("Airflow's API server", api.sign_in, home=home, seconds=_START)
        wait_for(f"the DAG {DAG_ID}", api.has_dag, home=home, seconds=_START)
    console.print(f"Airflow on {home.url}, all of its files in {_shown(home.path)}")
    return api


def run(home: Home, api: Api, images: int, target: Path) -> str:
    """Run the DAG and return the state in which it ended."""
    api.trigger(_RUN_ID, {"source": PHOTOS.as_uri(), "destination": target.as_uri()})
    console.print(f"Running {DAG_ID}: {images} pictures, three models")

    def poll() -> bool:
        over = api.is_over(_RUN_ID)  # before the tasks are read, so that the last look shows the end
        board.show(api.task_instances(_RUN_ID))
        return over

    with Board(console, images) as board:
        wait_for("the DAG run", poll, home=home, seconds=_RUN)
    return api.run_state(_RUN_ID)


def show(home: Home, api: Api, state: str, target: Path, sheet: Path) -> list[str]:
    """Print the table, draw the sheet, and return what is wrong."""
    images = report.images_in(PHOTOS)
    outcomes = report.collect(api, _RUN_ID)
    stats = emulator_stats(home.emulator_url) if home.emulator_url else None
    console.print()
    console.print(report.table(outcomes, target))
    console.print(f"Stored below {target.as_uri()} - cost in credits, seconds as Segmind counts them", soft_wrap=True)
    found = report.problems(outcomes, images, stats)
    if state != "success":
        found.insert(0, f"the DAG run ended as {state}")
    if stats is not None:
        submits, cost = stats["submits_accepted"], stats["credits_spent"]
        console.print(
            f"The emulator accepted {submits} submits, answered {stats['polls']} polls, billed {cost:g} credits"
        )
    if outcomes:
        note = "Same detail in every loupe. " + (
            "From the package's emulator: it resamples (Lanczos) where the real models paint detail."
            if stats is not None
            else "From Segmind's own models."
        )
        contact_sheet(report.rows(outcomes), sheet, title="Before and after", note=note)
        console.print(f"Contact sheet: {_shown(sheet)}", soft_wrap=True)
    return found


def explain(home: Home) -> None:
    """Print what the logs say of it: the tasks' own errors, or else the end of Airflow's log; and where they lie."""
    errors = home.task_errors()
    for path, reported in errors[:3]:
        console.rule(style="dim")
        _verbatim(f"{_shown(path)}\n{reported}")
    console.rule(style="dim")
    levels = ("[error ", "[critical ")
    lines = [line for line in home.tail(lines=5000).splitlines() if any(level in line for level in levels)]
    complaints = [line[:400] for line in lines if " [task] " not in line]  # the tasks' own are above
    if complaints or not errors:
        _verbatim("\n".join(complaints[-10:]) or home.tail(lines=30))
    console.print(f"All logs: {_shown(home.path)} (standalone.log, emulator.log, logs/)", soft_wrap=True)


def demo(folder: Path, *, keep: bool) -> int:
    """Run the demo in a folder and return the exit status."""
    began = time.monotonic()
    live = live_connection()
    target = folder / "upscaled"
    shutil.rmtree(target, ignore_errors=True)
    with Home(folder / "airflow") as home:
        try:
            api = start(home, live)
            state = run(home, api, len(report.images_in(PHOTOS)), target)
            found = show(home, api, state, target, folder / "contact-sheet.png")
        except (DemoError, httpx.HTTPError, OSError, RuntimeError) as error:
            found = [f"{type(error).__name__}: {error}"]
        for problem in found:
            console.print(f"[bold red]{problem}", soft_wrap=True)
        if found:
            explain(home)
        if keep:
            console.print(
                f"[bold]Airflow stays up: {home.url} (no password needed). Stop it with Ctrl-C.", soft_wrap=True
            )
            with contextlib.suppress(KeyboardInterrupt):  # the normal end here
                signal.pause()
    if not found:
        console.print(f"[bold green]All well[/], and everything stopped, after {time.monotonic() - began:.0f} s")
    return 1 if found else 0


def only_one(folder: Path) -> TextIO:
    """Hold the folder for this process, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise DemoError(f"another demo runs in {_shown(folder)}") from None
    return lock


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line, and end in order on Ctrl-C and SIGTERM."""
    command = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    command.add_argument("--keep", action="store_true", help="leave the web UI up at the end, until Ctrl-C")
    command.add_argument("--folder", type=Path, default=PROJECT / ".demo", help="where everything is written")
    options = command.parse_args(arguments)
    received: list[int] = []

    def interrupt(number: int, _frame: Any) -> None:
        received.append(number)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        with only_one(options.folder.resolve()):
            return demo(options.folder.resolve(), keep=options.keep)
    except DemoError as error:
        console.print(f"[bold red]{error}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped; nothing is left running.")
        return 128 + received[0]


def _verbatim(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
