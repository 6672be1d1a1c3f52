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
#: Seconds from the submit to the end of a request. The provider polls Bria after 10 s, because its page states 12 s.
LATENCY = "uniform:4:7"
_START, _RUN = 240.0, 600.0  # seconds, enough for a slow machine
_RUN_ID = "demo"

console = Console()


def live_connection() -> str | None:
    """Return the connection to Segmind as JSON if the environment asks for it, else None."""
    key = os.environ.get("SEGMIND_API_KEY", "")
    if os.environ.get("SEGMIND_DEMO_LIVE") != "1":
        return None
    if not key:
        raise DemoError("SEGMIND_DEMO_LIVE=1 runs against Segmind itself: set SEGMIND_API_KEY, too")
    return json.dumps({"conn_type": "segmind", "password": key})


def start(home: Home, live: str | None) -> Api:
    """Start emulator and Airflow, and return the API once the DAG is known."""
    if live:
        home.connection = live
        console.print("[yellow]Live: the demo calls Segmind itself, and each output is billed to your key.")
    else:
        home.start_emulator("--latency", LATENCY)
        console.print(f"The emulator runs on {home.emulator_url} instead of Segmind")
    home.start_airflow()
    api = Api(home.url)
    with console.status("Airflow starts (about 20 seconds) …"):
        wait_for("Airflow's API server", api.sign_in, home=home, seconds=_START)
        wait_for(f"the DAG {DAG_ID}", api.has_dag, home=home, seconds=_START)
    console.print(f"Airflow runs on {home.url}; its files are in {_shown(home.path)}")
    return api


def run(home: Home, api: Api, images: int, target: Path) -> str:
    """Run the DAG and return its final state."""
    api.trigger(_RUN_ID, {"source": PHOTOS.as_uri(), "destination": target.as_uri()})
    console.print(f"Running {DAG_ID}: {images} images, three models")

    def poll() -> bool:
        over = api.is_over(_RUN_ID)  # read before the tasks, so that the last poll shows their final states
        board.show(api.task_instances(_RUN_ID))
        return over

    with Board(console, images) as board:
        wait_for("the DAG run", poll, home=home, seconds=_RUN)
    return api.run_state(_RUN_ID)


def show(home: Home, api: Api, state: str, target: Path, sheet: Path) -> list[str]:
    """Print the table, draw the contact sheet, and return the problems found."""
    images = report.images_in(PHOTOS)
    outcomes = report.collect(api, _RUN_ID)
    stats = emulator_stats(home.emulator_url) if home.emulator_url else None
    console.print()
    console.print(report.table(outcomes, target))
    console.print(f"Stored in {target.as_uri()}. Cost in USD; seconds as reported by Segmind.", soft_wrap=True)
    found = report.problems(outcomes, images, stats)
    if state != "success":
        found.insert(0, f"the DAG run ended in state {state}")
    if stats is not None:
        submits, cost = stats["submits_accepted"], stats["credits_spent"]
        console.print(f"The emulator accepted {submits} submits and {stats['polls']} polls, and billed {cost:g} USD")
    if outcomes:
        caption = "Every loupe shows the same detail. " + (
            "Made by the emulator, which only resamples (Lanczos); the real models add detail."
            if stats is not None
            else "Made by Segmind's models."
        )
        contact_sheet(report.rows(outcomes), sheet, title="Before and after", caption=caption)
        console.print(f"Contact sheet: {_shown(sheet)}", soft_wrap=True)
    return found


def explain(home: Home) -> None:
    """Print the errors in the logs of the tasks, or the end of Airflow's log, and where the logs are."""
    errors = home.task_errors()
    for path, reported in errors[:3]:
        console.rule(style="dim")
        _verbatim(f"{_shown(path)}\n{reported}")
    console.rule(style="dim")
    levels = ("[error ", "[critical ")
    lines = [line for line in home.tail(lines=5000).splitlines() if any(level in line for level in levels)]
    others = [line[:400] for line in lines if " [task] " not in line]  # errors of tasks are printed above
    if others or not errors:
        _verbatim("\n".join(others[-10:]) or home.tail(lines=30))
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
                f"[bold]Airflow keeps running on {home.url} (no password needed). Stop it with Ctrl-C.", soft_wrap=True
            )
            with contextlib.suppress(KeyboardInterrupt):  # the normal way to end it
                signal.pause()
    if not found:
        console.print(
            f"[bold green]The demo succeeded[/] and stopped all processes after {time.monotonic() - began:.0f} s"
        )
    return 1 if found else 0


def only_one(folder: Path) -> TextIO:
    """Lock the folder until this process ends."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise DemoError(f"another demo is running in {_shown(folder)}: stop it, or choose another --folder") from None
    return lock


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and stop all processes on Ctrl-C and SIGTERM."""
    command = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    command.add_argument("--keep", action="store_true", help="keep the web UI running at the end, until Ctrl-C")
    command.add_argument("--folder", type=Path, default=PROJECT / ".demo", help="where all files are written")
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
