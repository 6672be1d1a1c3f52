"""Faults that could make a client leak its key, and a search for the key in everything that Airflow stores."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from tests.chaos.rig import Rig

MODES = ("deferrable", "plain")
#: Names of faults. In each mode, each has a model of its own to which its faults apply.
SCENARIOS = ("moved", "redirected", "wrong", "refused")
#: The scenarios in which a task fails.
FAILING = ("moved", "refused")


def add_faults(rig: Rig) -> None:
    """Make the emulator refer its clients to the host that records their calls."""
    elsewhere = rig.images.url

    def fault(route: str, kind: str, model: str, times: int | None = 1, **more: Any) -> None:
        rig.emulator("faults", "POST", route=route, kind=kind, model=model, times=times, **more)

    _foreign_addresses(rig, elsewhere)
    fault("output", f"redirect:{elsewhere}/private/output.png", "bria-increase-resolution", None)
    for mode in MODES:
        fault("submit", f"redirect:{elsewhere}/stolen-submit", f"moved-{mode}", None)
        for route in ("status", "result"):
            fault(route, f"redirect:{elsewhere}/stolen-{route}", f"redirected-{mode}")
        model = f"wrong-{mode}"
        fault("submit", "garbage", model)
        for kind in ("garbage", "html", "status:500", "truncate"):
            fault("status", kind, model)
        fault("result", "garbage", model)
        # A gateway that repeats the key in its refusal, in the body and in a header.
        reported = {"error": f"API key {rig.api_key} is invalid"}
        headers = {"WWW-Authenticate": f'Key realm="{rig.api_key}"'}
        fault("submit", "status:401", f"refused-{mode}", None, body=reported, headers=headers)


def _foreign_addresses(rig: Rig, elsewhere: str) -> None:
    """Add a response to a submit, and a result, whose URLs all lead to another host."""
    made = rig.submit("esrgan", image=f"{elsewhere}/foreign.jpg")
    names = ("status_url", "response_url", "poll_url")
    foreign = {"request_id": made["request_id"], "status": "QUEUED"} | dict.fromkeys(names, f"{elsewhere}/stolen-url")
    rig.emulator("faults", "POST", route="submit", kind="status:200", model="esrgan", body=foreign)
    result = {"request_id": made["request_id"], "status": "COMPLETED", "output": f"{elsewhere}/elsewhere.jpg"}
    rig.emulator("faults", "POST", route="result", kind="status:200", model="esrgan", body=result)


def where(key: str, rig: Rig, triggers: set[str]) -> list[str]:
    """Return every place that contains the key."""
    return [place for place, content in _places(rig, triggers) if key.encode() in content]


def _places(rig: Rig, triggers: set[str]) -> Iterator[tuple[str, bytes]]:
    for path in rig.path.rglob("*"):
        if path.is_file():
            yield str(path.relative_to(rig.path)), path.read_bytes()
    with _database(rig.path) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f'SELECT * FROM "{table}"'):
                yield f"table {table}", repr(row).encode()
    for kwargs in triggers:
        yield "a trigger's arguments", kwargs.encode()
    for line in rig.running():
        yield "a command line", line.encode()


def trigger_arguments(rig: Rig) -> set[str]:
    """Return the arguments of the triggers that wait now, decrypted. Their rows are deleted when they have fired."""
    fernet = Fernet(rig.secrets["fernet"])
    with _database(rig.path) as database:
        rows = [text for (text,) in database.execute("SELECT kwargs FROM trigger")]
    return {text if text.startswith("{") else fernet.decrypt(text.encode()).decode() for text in rows}


def _database(home: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{home / 'airflow.db'}?mode=ro", uri=True, timeout=30)
