"""
Write every persisted shape, as the package on the path produces it: ``make freeze``, once for each release.

Triggers, events, request records, XComs, manifests and sidecars stay in databases and buckets while the package is
upgraded. ``tests/test_written_before.py`` reads each frozen file with the current code. The values are invented; the
code that writes them is the package's own.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
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
    "similarity": 0.987,
    "metadata": ["icc"],
}
REQUEST_INFO = {
    "key": "cd" * 10,
    "fingerprint": "cd" * 32,
    "input": {"uri": IMAGE},
    "parameters": BODY,
    "submitted_at": "2026-09-21T14:13:20+00:00",
}


class Store(dict[str, Any]):
    """The part of Airflow's task state store that the request records use."""

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        """Write through JSON, as Airflow does."""
        self[key] = json.loads(json.dumps(value))

    def delete(self, key: str) -> None:
        """Delete a key."""
        self.pop(key, None)


def need(name: str) -> ModuleType:
    """Import a module of the package, after ``main`` has set Airflow's home."""
    return importlib.import_module(f"{PACKAGE}.{name}")


def result(**more: Any) -> Any:
    """Return the result of a request."""
    fields = {"request_id": ID, "model": "esrgan", "output": OUTPUT["url"], "outputs": [OUTPUT], "metrics": METRICS}
    return need("protocol.wire").Result(**{**fields, **more})


def triggers() -> list[dict[str, Any]]:
    """Return what each trigger serializes, with every argument set, and with the required ones only."""
    common = {"segmind_conn_id": "segmind_default", "deadline": NOW + 600, "not_before": NOW + 6}
    request = {**common, "request_id": ID, "model": "esrgan", "submitted_at": NOW}
    hints = {"poll_interval": 2.5, "expected_duration": 12.0, "inline": False}
    full = {
        **request,
        **hints,
        "input_size": [600, 400],
        "queue_timeout": 60.0,
        "do_xcom_push": True,
        "request_info": REQUEST_INFO,
    }
    limiter = {**common, "opens_at": NOW + 30, "started_at": NOW, "returns": 1}
    waited = {
        "waited": [{"key": "0" * 20, "request_id": ID, "submitted_at": NOW}],
        "timeout": 600.0, "need": 1, "resume_at": NOW + 60, "memory": memory(),
    }  # fmt: skip
    wanted = [
        ("triggers.segmind", "SegmindRequestTrigger", request),
        ("triggers.segmind", "SegmindRequestTrigger", full),
        ("triggers.rate_limit", "SegmindRateLimitTrigger", limiter),
        (
            "triggers.batch",
            "SegmindBatchTrigger",
            {**without(common, "deadline"), **hints, **waited, "model": "esrgan"},
        ),
        ("triggers.credits", "SegmindCreditsTrigger", {**common, "at_least": 10.0, "poll_interval": 60.0}),
    ]
    found = [getattr(need(room), name)(**fields) for room, name, fields in wanted]
    return [dict(zip(("classpath", "kwargs"), trigger.serialize(), strict=True)) for trigger in found]


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the fields without one of them."""
    return {key: value for key, value in fields.items() if key != name}


def key_of(body: dict[str, Any]) -> str:
    """Return the key of a want."""
    return str(need("protocol.identity").key_of("esrgan", body, GATEWAY))


def memory() -> dict[str, Any]:
    """Return what a batch keeps besides its rows."""
    waves = need("execution.waves")
    made = waves.Memory(started_at=NOW, reused=1, moved_at=NOW, items=waves.digest_of([key_of(BODY)]))
    return dict(made.model_dump(mode="json"))


def events() -> dict[str, Any]:
    """Return an event of each kind, as the triggers send it."""
    errors, there, waves = need("exceptions"), need("protocol.events"), need("execution.waves")
    size = {"input_size": (600, 400)}
    known = {
        "completed": there.CompletedEvent(request_id=ID, result=result(), request_info=REQUEST_INFO, **size),
        "fetch": there.FetchEvent(request_id=ID, request_info=REQUEST_INFO, **size),
    }
    for kind, cls in {
        "failed": errors.SegmindRequestFailedError,
        "expired": errors.SegmindRequestExpiredError,
        "timeout": errors.SegmindTimeoutError,
        "error": errors.SegmindAuthError,
    }.items():
        known[kind] = there.event_for(cls("what happened", request_id=ID), request_id=ID)
    written = {kind: event.payload() for kind, event in known.items()}
    written["rate_limit"] = there.RateLimitEvent(started_at=NOW, returns=1).model_dump(mode="json")
    waited = waves.Waited(key=key_of(BODY), request_id=ID, submitted_at=NOW, event=known["completed"])
    event = waves.BatchEvent(waited=[waited], memory=memory())
    written["batch"] = event.model_dump(mode="json", exclude_none=True)
    written["credits"] = need("protocol.credits").CreditsEvent(balance=12.5).model_dump(mode="json")
    return written


def steps(record: Any) -> dict[str, Any]:
    """Return the transitions of a record, by the name of the step that each leads to."""
    return {
        "intended": lambda: record.intend(at=NOW, skew=0.25),
        "responded with an error": lambda: record.errored(),
        "submitted": lambda: record.submitted(ID, at=NOW + 1),
        "completed": lambda: record.completed(result()),
        "refused": lambda: record.refused(at=NOW + 15),
        "delivered": lambda: record.delivered([STORED], at=NOW + 20, by="d r t -1"),
        "closed": lambda: record.close(),
    }


def records() -> dict[str, Any]:
    """Return the content of the task state store after each step of a request."""
    there, state = need("execution.store"), need("execution.record")
    record, store = state.RequestRecord(key=key_of(BODY), uploaded=IMAGE), Store()
    found = {}
    for step, take in steps(record).items():
        take()
        there.TaskStateRecords(store).put([record])
        found[step] = store[there.STORE_KEY]
    return found


def batch() -> dict[str, Any]:
    """Return a manifest, its part in the task state store, and its claim."""
    there, state, manifest = need("execution.store"), need("execution.record"), need("execution.manifest")
    bodies: list[dict[str, Any]] = [BODY, {"image": IMAGE, "scale": 2}, {"image": IMAGE}]
    rows = [state.RequestRecord(key=key_of(body), index=index, item=body) for index, body in enumerate(bodies)]
    for row, last in zip(rows, ("submitted", "delivered", "submitted"), strict=True):
        for step, take in steps(row).items():
            if step not in ("responded with an error", "refused"):
                take()
            if step == last:
                break
    error = need("exceptions").SegmindTimeoutError("what happened", request_id=ID)
    rows[2].failed(error.to_dict(), at=NOW + 600)
    store = Store()
    kept = there.TaskStateRecords(store, batch=True)
    kept.put(rows)
    kept.forget(row for row in rows if not row.open)
    instance = need("execution.instance").Instance("d", "r", "t")
    with tempfile.TemporaryDirectory() as folder:
        files = need("execution.folder").StorageFolder(f"file://{folder}", conn_id=None, model="esrgan")
        made = manifest.BatchFolder(files, instance)
        made.claims.take(items="0123", until=NOW + 900, now=NOW)
        made.write(rows)
        [claim] = (json.loads(path.read_text()) for path in Path(folder).glob("*.claim"))
        [text] = (path.read_text() for path in Path(folder).glob("*.jsonl"))
    return {"bodies": bodies, "keys": [row.key for row in rows], "manifest": text, "records": store, "claim": claim}


def sidecar() -> dict[str, Any]:
    """Return the sidecar of a stored object."""
    there = need("storage.sidecar")
    about = there.About(task={"dag_id": "d", "run_id": "r", "task_id": "t"}, **without(REQUEST_INFO, "key"))
    [found] = there.sidecars(result(), [STORED], about)
    return dict(json.loads(found.model_dump_json()))


def shapes(version: str) -> dict[str, Any]:
    """Return everything that this version writes."""
    return {
        "version": version,
        "triggers": triggers(),
        "events": events(),
        "records": records(),
        "batch": batch(),
        "xcom": {**result().to_xcom(), "stored": [STORED]},
        "xcom of a workflow": result(named={"large": OUTPUT["url"], "text": "a cat"}).to_xcom(),
        "sidecar": sidecar(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the frozen file of the package on the path."""
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
