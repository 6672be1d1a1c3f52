"""Assets and OpenLineage on a real Airflow: events of deferred, mapped tasks, and a DAG that they start."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from demo.airflow_home import PROJECT
from tests.chaos.rig import Rig

pytestmark = pytest.mark.e2e

DAGS = [
    PROJECT / "dags_examples" / "daily_folder.py",
    PROJECT / "dags_examples" / "contact_sheet.py",
    Path(__file__).parent / "dags" / "lineage_all.py",
]
PHOTOS = PROJECT / "tests" / "photos"
NAMES = ("astronaut", "cat")
ENDINGS = {"astronaut": "png", "cat": "jpg"}
SIZES = {"astronaut": (512, 512), "cat": (600, 400)}


class Backend:
    """A host that takes OpenLineage events, as its HTTP transport sends them."""

    def __init__(self) -> None:
        self.said: list[str] = []
        said = self.said

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                said.append(self.rfile.read(int(self.headers["content-length"])).decode())
                self.send_response(201)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def events(self, job: str, kind: str) -> list[dict[str, Any]]:
        """The events of a task."""
        found = [json.loads(text) for text in self.said]
        return [event for event in found if event["job"]["name"] == job and event["eventType"] == kind]


class LineageRig(Rig):
    """The chaos suite's Airflow with these DAGs."""

    def prepare(self) -> None:
        super().prepare()
        for file in DAGS:
            shutil.copy(file, self.path / "dags")
        self.dags = [file.stem for file in DAGS]


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    found = Backend()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory, backend: Backend) -> Iterator[Rig]:
    settings = {
        "TRANSPORT": json.dumps({"type": "http", "url": backend.url, "endpoint": "api/v1/lineage"}),
        "NAMESPACE": "rig",
        "INCLUDE_FULL_TASK_INFO": "True",  # every attribute of the operators
        "EXECUTION_TIMEOUT": "60",
    }
    environ = {f"AIRFLOW__OPENLINEAGE__{name}": value for name, value in settings.items()}
    with LineageRig(tmp_path_factory.mktemp("lineage") / "home", environ=environ) as running:
        yield running
    assert not running.running(), "processes are left behind"


@pytest.fixture(scope="module")
def day(rig: Rig) -> str:
    """The day of a producer's run that has ended, with the runs of the consumer that it started."""
    day = datetime.now(UTC).date().isoformat()
    source = rig.path / "days" / day
    source.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(PHOTOS / f"{name}.{ENDINGS[name]}", source)
    conf = {"source": f"file://{source.parent}", "destination": f"file://{rig.out}"}
    assert rig.run("segmind_daily_folder", "daily", seconds=180, conf=conf) == "success"
    return day


def _asset_events(rig: Rig, dag_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rig.api.get("/api/v2/assets/events", source_dag_id=dag_id)["asset_events"]
    return sorted(found, key=lambda event: event["source_map_index"])


def test_each_picture_is_an_asset_event(rig, day):
    events = _asset_events(rig, "segmind_daily_folder")
    assert [event["source_map_index"] for event in events] == [0, 1]
    for index, (event, name) in enumerate(zip(events, NAMES, strict=True)):
        value = rig.api.returned("segmind_daily_folder", "daily", "upscale", index)
        [stored] = value["stored"]
        target = rig.out / day / f"{name}.png"
        width, height = SIZES[name]
        assert (stored["bytes"], stored["width"], stored["height"]) == (target.stat().st_size, width, height)
        assert event["uri"] == event["name"] == target.as_uri()
        assert event["source_task_id"] == "upscale"
        assert event["source_run_id"] == "daily"
        assert event["extra"] == {
            **stored,
            "model": "esrgan",
            "request_id": value["request_id"],
            "cost": 0.005,
            "inputs": [f"file://{rig.path}/days/{day}/{name}.{ENDINGS[name]}"],
            "parameters": {"scale": 2, "output_format": "png", "quality": 95},
        }


def test_the_events_start_the_consumer(rig, day):
    sheet, small = rig.out / day / "contact-sheet.jpg", rig.out / day / "thumbnails"

    def done() -> bool:
        runs = rig.api.get("/api/v2/dags/segmind_contact_sheet/dagRuns")["dag_runs"]
        made = sheet.exists() and len(list(small.iterdir())) == len(NAMES)
        return bool(made and runs and {run["state"] for run in runs} == {"success"})

    rig.wait("the consumer's runs end", done, seconds=120)
    runs = rig.api.get("/api/v2/dags/segmind_contact_sheet/dagRuns")["dag_runs"]
    assert {run["run_type"] for run in runs} == {"asset_triggered"}
    seen = [rig.api.returned("segmind_contact_sheet", run["dag_run_id"], "list_new") for run in runs]
    assert sorted(uri for uris in seen for uri in uris) == [f"file://{rig.out}/{day}/{name}.png" for name in NAMES]
    with Image.open(sheet) as picture:
        assert picture.size == (480, 240)


def test_the_openlineage_events_of_a_deferred_mapped_run(rig, backend, day):
    job = "segmind_daily_folder.upscale"
    rig.wait("OpenLineage's events", lambda: len(backend.events(job, "COMPLETE")) == 2, seconds=30)
    events = sorted(backend.events(job, "COMPLETE"), key=lambda event: event["outputs"][0]["name"])
    for index, (event, name) in enumerate(zip(events, NAMES, strict=True)):
        value = rig.api.returned("segmind_daily_folder", "daily", "upscale", index)
        [stored], metrics = value["stored"], value["metrics"]
        source = f"{rig.path}/days/{day}/{name}.{ENDINGS[name]}"
        assert event["job"]["namespace"] == "rig"
        assert event["run"]["facets"]["airflow"]["taskInstance"]["map_index"] == index
        assert _plain(event["run"]["facets"]["segmind_request"]) == {
            "model": "esrgan",
            "requestId": value["request_id"],
            "parameters": {"scale": 2, "output_format": "png", "quality": 95},
            "cost": metrics["cost"],
            "remainingCredits": metrics["remaining_credits"],
            "inferenceTime": metrics["inference_time"],
            "queueTime": metrics["queue_time"],
            "totalTime": metrics["total_time"],
            "skipped": False,
        }
        assert [(found["namespace"], found["name"]) for found in event["inputs"]] == [("file", source)]
        [output] = event["outputs"]
        assert (output["namespace"], output["name"]) == ("file", f"{rig.out}/{day}/{name}.png")
        assert _plain(output["facets"]["segmind_picture"]) == {
            "uri": stored["uri"],
            "bytes": stored["bytes"],
            "sha256": stored["sha256"],
            "contentType": "image/png",
            "width": SIZES[name][0],
            "height": SIZES[name][1],
            "model": "esrgan",
            "requestId": value["request_id"],
            "cost": metrics["cost"],
            "inputs": [f"file://{source}"],
        }
        assert _plain(output["outputFacets"]["outputStatistics"]) == {"size": stored["bytes"], "fileCount": 1}


def test_the_other_operators_tell_it_as_well(rig, backend, day):
    state = rig.run("lineage_all", "all", seconds=180)
    states = {ti["task_id"]: ti["state"] for ti in rig.api.instances("lineage_all", "all")}
    assert state == "failed"
    assert {task for task, found in states.items() if found == "failed"} == {"fails"}

    def told(task: str, kind: str = "COMPLETE") -> Any:
        rig.wait(f"the event of {task}", lambda: backend.events(f"lineage_all.{task}", kind), seconds=30)
        [event] = backend.events(f"lineage_all.{task}", kind)
        return event

    batch = told("batch")
    value = rig.api.returned("lineage_all", "all", "batch")
    assert sorted(found["name"] for found in batch["inputs"]) == [f"batch-{number}.jpg" for number in range(3)]
    pairs = {found["facets"]["segmind_picture"]["inputs"][0]: found["name"] for found in batch["outputs"]}
    for number in range(3):
        assert f"/batch/batch-{number}-" in pairs[f"{rig.pictures.url}/batch-{number}.jpg"]
    facet = batch["run"]["facets"]["segmind_request"]
    assert (facet["model"], facet["cost"]) == ("esrgan", value["metrics"]["cost"])
    assert facet["batch"]["manifest"] == value["manifest"]
    assert (facet["batch"]["total"], facet["batch"]["stored"], facet["batch"]["failed"]) == (3, 3, 0)
    assert len(_asset_events(rig, "lineage_all")) == 3

    taskflow = told("taskflow")
    assert [found["name"] for found in taskflow["inputs"]] == ["taskflow.jpg"]
    assert [found["name"] for found in taskflow["outputs"]] == [f"{rig.out}/taskflow.png"]
    assert taskflow["run"]["facets"]["segmind_request"]["parameters"] == {
        "image": f"{rig.pictures.url}/taskflow.jpg",
        "scale": 2,
        "output_format": "png",
        "quality": 95,
    }

    # What one task left at Segmind is where the transfer takes it from.
    upscale, store = told("upscale"), told("store")
    assert [found["name"] for found in upscale["inputs"]] == ["upscale.jpg"]
    left = [(found["namespace"], found["name"]) for found in upscale["outputs"]]
    assert left == [(found["namespace"], found["name"]) for found in store["inputs"]]
    assert left[0][0] == rig.emulator_url
    assert [found["name"] for found in store["outputs"]] == [f"{rig.out}/store.jpg"]

    failed = told("fails", "FAIL")
    assert failed["outputs"] == []
    assert failed["run"]["facets"]["segmind_request"]["requestId"]


def test_no_event_tells_a_secret(rig, backend, day):
    assert len(backend.said) > 20
    assert rig.api_key
    for text in backend.said:
        assert rig.api_key not in text
    lineage = [
        json.dumps([event["inputs"], event["outputs"], event["run"]["facets"].get("segmind_request")])
        for event in map(json.loads, backend.said)
    ]
    assert "5ec7e7" not in "".join(lineage)
    assert "5ec7e7" not in json.dumps(_asset_events(rig, "lineage_all"))


def _plain(facet: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facet.items() if not name.startswith("_")}
