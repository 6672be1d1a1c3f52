"""
Write down every shape that outlives a process, as the package on the path writes it: ``make freeze``, once a release.

Triggers, events, ledger entries, XComs, manifests and sidecars wait in databases and buckets while the package is
upgraded. ``tests/test_written_before.py`` reads each frozen file with the code of today. The values are made up; the
writers are the real ones. It runs with older code on the path, too, and leaves out what that does not know.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import os
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

FOLDER = Path(__file__).parent / "wire" / "written"
PACKAGE = "airflow_provider_segmind"
ID, NOW = "7c9e6679-7425-40de-944b-e07fc1f90ae7", 1_790_000_000.5
IMAGE, GATEWAY = "https://example.com/cat.jpg", "https://api.segmind.com"
BODY = {"image": IMAGE, "scale": 4}
METRICS = {"cost": 0.005, "remaining_credits": 41.2, "inference_time": 3.9, "queue_time": 0.4, "total_time": 4.3}
OUTPUT = {
    "url": "https://images.segmind.com/outputs/7c9e6679.jpeg",
    "content_type": "image/jpeg",
    "file_name": "7c9e6679.jpeg",
    "file_size": 183204,
}
STORED = {
    "uri": "file:///out/x2.jpg",
    "bytes": 7,
    "sha256": "ab" * 32,
    "content_type": "image/jpeg",
    "width": 2400,
    "height": 1600,
}
NOTE = {"fingerprint": "cd" * 32, "input": {"uri": IMAGE}, "submitted_at": "2026-09-21T14:13:20+00:00"}


class Store(dict[str, Any]):
    """Airflow's task state store as far as the ledgers use it."""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        """Write through JSON, as Airflow does."""
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        """Forget a key."""
        self.pop(key, None)


def module(name: str) -> ModuleType | None:
    """Import a module of the package if this version has it."""
    full = f"{PACKAGE}.{name}"
    try:
        return importlib.import_module(full) if find_spec(full) else None
    except ModuleNotFoundError:  # its package is not there either
        return None


def need(name: str) -> ModuleType:
    """Import a module that every version has."""
    return importlib.import_module(f"{PACKAGE}.{name}")


def made(cls: Any, **fields: Any) -> Any:
    """Make an object of those of the fields that this version of its class knows."""
    known = inspect.signature(cls).parameters
    return cls(**{name: value for name, value in fields.items() if name in known})


def result(**more: Any) -> Any:
    """Return the result of a request."""
    fields = {"request_id": ID, "model": "esrgan", "output": OUTPUT["url"], "outputs": [OUTPUT], "metrics": METRICS}
    return made(need("protocol.wire").Result, **{**fields, **more})


def triggers() -> list[dict[str, Any]]:
    """Return what each trigger serializes, with every argument set, and with as few as can be."""
    common = {"segmind_conn_id": "segmind_default", "deadline": NOW + 600, "not_before": NOW + 6}
    request = {**common, "request_id": ID, "model": "esrgan", "submitted_at": NOW}
    hints = {"poll_interval": 2.5, "expected_duration": 12.0, "inline": False}
    full = {**request, **hints, "input_size": [600, 400], "queue_timeout": 60.0, "do_xcom_push": True, "note": NOTE}
    gate = {**common, "opens_at": NOW + 30, "started_at": NOW, "returns": 1}
    waited = {
        "waited": [{"key": "0" * 20, "request_id": ID, "submitted_at": NOW}],
        "timeout": 600.0, "need": 1, "resume_at": NOW + 60, "memory": memory(),
    }  # fmt: skip
    wanted = [
        ("triggers.segmind", "SegmindRequestTrigger", request),
        ("triggers.segmind", "SegmindRequestTrigger", full),
        ("triggers.gate", "SegmindGateTrigger", gate),
        ("triggers.batch", "SegmindBatchTrigger", {**common, **hints, **waited, "model": "esrgan"}),
        ("triggers.credits", "SegmindCreditsTrigger", {**common, "at_least": 10.0, "poll_interval": 60.0}),
    ]
    found = [made(getattr(there, name), **fields) for room, name, fields in wanted if (there := module(room))]
    return [dict(zip(("classpath", "kwargs"), trigger.serialize(), strict=True)) for trigger in found]


def memory() -> dict[str, Any]:
    """Return what a batch's run knows beyond its rows."""
    there = module("protocol.batch")
    if there is None:
        return {}
    known = {"started_at": NOW, "reused": 1, "moved_at": NOW}
    if hasattr(there, "digest_of"):
        known["items"] = there.digest_of([there.key_of("esrgan", BODY, GATEWAY)])
    return dict(made(there.Memory, **known).model_dump(mode="json"))


def events() -> dict[str, Any]:
    """Return an event of each kind, as the triggers send it."""
    errors, there = need("exceptions"), need("protocol.events")
    size = {"input_size": (600, 400)}
    known = {
        "completed": made(there.CompletedEvent, request_id=ID, result=result(), note=NOTE, **size),
        "fetch": made(there.FetchEvent, request_id=ID, **size),
    }
    for kind, cls in {
        "failed": errors.SegmindRequestFailedError,
        "expired": errors.SegmindRequestExpiredError,
        "timeout": errors.SegmindTimeoutError,
        "error": errors.SegmindAuthError,
    }.items():
        known[kind] = there.event_for(cls("what happened", request_id=ID), request_id=ID)
    written = {kind: event.payload() for kind, event in known.items()}
    if hasattr(there, "GateEvent"):
        written["gate"] = there.GateEvent(started_at=NOW, returns=1).model_dump(mode="json")
    if batch := module("protocol.batch"):
        key = batch.key_of("esrgan", BODY, GATEWAY)
        waited = batch.Waited(key=key, request_id=ID, submitted_at=NOW, event=known["completed"])
        event = batch.BatchEvent(waited=[waited], memory=memory())
        written["batch"] = event.model_dump(mode="json", exclude_none=True)
    if credits_ := module("protocol.credits"):
        written["credits"] = credits_.CreditsEvent(balance=12.5).model_dump(mode="json")
    return written


def ledger() -> dict[str, Any]:
    """Return an entry after each step of a request."""
    there = module("ledger")
    if there is None:
        return {}
    store, wanted = Store(), need("protocol.resume").fingerprint("esrgan", BODY, GATEWAY)
    context = {"task_state_store": store, "ti": SimpleNamespace(max_tries=1, try_number=1)}
    book = there.Ledger(context, clock=lambda: NOW)
    transport = {"transport": "upload"} if "transport" in inspect.signature(book.intend).parameters else {}
    book.intend(wanted, uploaded=IMAGE, **transport)
    steps = {"intended": store["segmind_request"]}
    book.submitted(ID)
    steps["submitted"] = store["segmind_request"]
    book.finished(result())
    steps["finished"] = store["segmind_request"]
    book.hand_over({**result().to_xcom(), "stored": [STORED]})
    return {**steps, "handed over": store["segmind_request"]}


def batch() -> dict[str, Any]:
    """Return a manifest, and what of it lies in the ledger."""
    there, books = module("protocol.batch"), module("ledger.batch")
    if there is None or books is None:
        return {}
    bodies = [BODY, {"image": IMAGE, "scale": 2}, {"image": IMAGE}]
    keys = [there.key_of("esrgan", body, GATEWAY) for body in bodies]
    common = {"item": BODY, "intended_at": NOW, "submitted_at": NOW + 1, "request_id": ID}
    done = {"result": result().to_xcom(), "stored": [STORED], "finished_at": NOW + 20}
    error = need("exceptions").SegmindRequestFailedError("out of memory", request_id=ID).to_dict()
    rows = [
        made(there.Row, key=keys[0], index=0, state="running", **common),
        made(there.Row, key=keys[1], index=1, state="stored", **common, **done),
        made(there.Row, key=keys[2], index=2, state="failed", **common, error=error, lost=1, finished_at=NOW + 20),
    ]
    store = Store()
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1)
    books.BatchLedger({"task_state_store": store, "ti": ti}).write(rows)
    return {"bodies": bodies, "keys": keys, "manifest": there.write_manifest(rows), "ledger": store}


def sidecar() -> dict[str, Any] | None:
    """Return the sidecar of a stored object."""
    there = module("storage.sidecar")
    if there is None:
        return None
    about = there.About(parameters=BODY, task={"dag_id": "d", "run_id": "r", "task_id": "t"}, **NOTE)
    [found] = there.sidecars(result(), [STORED], about)
    return dict(json.loads(found.model_dump_json()))


def shapes(version: str) -> dict[str, Any]:
    """Return everything that this version writes."""
    found: dict[str, Any] = {
        "version": version,
        "triggers": triggers(),
        "events": events(),
        "ledger": ledger(),
        "batch": batch(),
        "xcom": {**result().to_xcom(), "stored": [STORED]},
        "sidecar": sidecar(),
    }
    if "named" in need("protocol.wire").Result.model_fields:
        found["xcom of a workflow"] = result(named={"large": OUTPUT["url"], "text": "a cat"}).to_xcom()
    return {name: value for name, value in found.items() if value}


def main(arguments: Sequence[str] | None = None) -> None:
    """Freeze what the package on the path writes."""
    command = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    command.add_argument("version", nargs="?", help="the name of the file (default: the package's version)")
    options = command.parse_args(arguments)
    with tempfile.TemporaryDirectory() as home:
        os.environ["AIRFLOW_HOME"] = home
        version = options.version or importlib.import_module(PACKAGE).__version__
        path = FOLDER / f"{version}.json"
        path.write_text(json.dumps(shapes(version), indent=1) + "\n", encoding="utf-8")
    print(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


if __name__ == "__main__":
    main()
