"""Assets and OpenLineage on a real Airflow: events of deferred, mapped tasks, and a DAG that they start."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from demo.airflow_home import PROJECT
from tests.e2e.backend import Backend
from tests.shared_airflow import SharedAirflow

pytestmark = pytest.mark.e2e

DAY_RUN, ALL_RUN = "daily", "all"
PHOTOS = PROJECT / "tests" / "photos"
NAMES = ("astronaut", "cat")
EXTENSIONS = {"astronaut": "png", "cat": "jpg"}
SIZES = {"astronaut": (512, 512), "cat": (600, 400)}


@pytest.fixture(scope="module")
def rig(shared_airflow: SharedAirflow) -> SharedAirflow:
    return shared_airflow


@pytest.fixture(scope="module")
def backend(rig: SharedAirflow) -> Backend:
    return rig.lineage


@pytest.fixture(scope="module")
def day(rig: SharedAirflow) -> str:
    """Run the producer, which starts the consumer, and return its day."""
    day = datetime.now(UTC).date().isoformat()
    source = rig.path / "days" / day
    source.mkdir(parents=True)
    for name in NAMES:
        shutil.copy(PHOTOS / f"{name}.{EXTENSIONS[name]}", source)
    conf = {"source": f"file://{source.parent}", "destination": f"file://{_out(rig)}"}
    assert rig.run("segmind_daily_folder", DAY_RUN, seconds=240, conf=conf) == "success"
    return day


@pytest.fixture(scope="module")
def everything(rig: SharedAirflow) -> None:
    """Run the DAG with every other operator to its end."""
    state = rig.run("lineage_all", ALL_RUN, seconds=240)
    states = {ti["task_id"]: ti["state"] for ti in rig.api.instances("lineage_all", ALL_RUN)}
    assert state == "failed"
    assert {task for task, found in states.items() if found == "failed"} == {"fails"}


def _out(rig: SharedAirflow) -> Path:
    return rig.out / "lineage"


def _asset_events(rig: SharedAirflow, dag_id: str, run_id: str) -> list[dict[str, Any]]:
    query = {"source_dag_id": dag_id, "source_run_id": run_id}
    found: list[dict[str, Any]] = rig.api.get("/api/v2/assets/events", **query)["asset_events"]
    return sorted(found, key=lambda event: event["source_map_index"])


def test_each_image_is_an_asset_event(rig, day):
    events = _asset_events(rig, "segmind_daily_folder", DAY_RUN)
    assert [event["source_map_index"] for event in events] == [0, 1]
    for index, (event, name) in enumerate(zip(events, NAMES, strict=True)):
        value = rig.api.returned("segmind_daily_folder", DAY_RUN, "upscale", index)
        [stored] = value["stored"]
        target = _out(rig) / day / f"{name}.png"
        width, height = SIZES[name]
        assert (stored["bytes"], stored["width"], stored["height"]) == (target.stat().st_size, width, height)
        assert event["uri"] == event["name"] == target.as_uri()
        assert event["source_task_id"] == "upscale"
        assert event["source_run_id"] == DAY_RUN
        assert event["extra"] == {
            **stored,
            "model": "esrgan",
            "request_id": value["request_id"],
            "cost": 0.005,
            "inputs": [f"file://{rig.path}/days/{day}/{name}.{EXTENSIONS[name]}"],
            "parameters": {"scale": 2, "output_format": "png", "quality": 95},
        }


def test_the_events_start_the_consumer(rig, day):
    sheet, small = _out(rig) / day / "contact-sheet.jpg", _out(rig) / day / "thumbnails"

    def done() -> bool:
        made = sheet.exists() and len(list(small.iterdir())) == len(NAMES)
        return made and {run["state"] for run in rig.api.dag_runs("segmind_contact_sheet")} == {"success"}

    rig.wait("the consumer's runs end", done, seconds=180)
    runs = rig.api.dag_runs("segmind_contact_sheet")
    assert {run["run_type"] for run in runs} == {"asset_triggered"}
    seen = [rig.api.returned("segmind_contact_sheet", run["dag_run_id"], "list_new") for run in runs]
    ours = sorted(uri for uris in seen for uri in uris if uri.startswith(f"file://{_out(rig)}/"))
    assert ours == [f"file://{_out(rig)}/{day}/{name}.png" for name in NAMES]
    with Image.open(sheet) as image:
        assert image.size == (480, 240)


def test_the_openlineage_events_of_a_deferred_mapped_run(rig, backend, day):
    job = "segmind_daily_folder.upscale"
    rig.wait("OpenLineage's events", lambda: len(backend.events(job, "COMPLETE", DAY_RUN)) == 2, seconds=60)
    events = sorted(backend.events(job, "COMPLETE", DAY_RUN), key=lambda event: event["outputs"][0]["name"])
    for index, (event, name) in enumerate(zip(events, NAMES, strict=True)):
        value = rig.api.returned("segmind_daily_folder", DAY_RUN, "upscale", index)
        [stored], metrics = value["stored"], value["metrics"]
        source = f"{rig.path}/days/{day}/{name}.{EXTENSIONS[name]}"
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
        assert (output["namespace"], output["name"]) == ("file", f"{_out(rig)}/{day}/{name}.png")
        assert _plain(output["facets"]["segmind_image"]) == {
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


def test_the_other_operators_report_it_as_well(rig, backend, everything):
    def reported(task: str, kind: str = "COMPLETE") -> Any:
        rig.wait(f"the event of {task}", lambda: backend.events(f"lineage_all.{task}", kind, ALL_RUN), seconds=60)
        [event] = backend.events(f"lineage_all.{task}", kind, ALL_RUN)
        return event

    batch = reported("batch")
    value = rig.api.returned("lineage_all", ALL_RUN, "batch")
    assert sorted(found["name"] for found in batch["inputs"]) == [f"batch-{number}.jpg" for number in range(3)]
    pairs = {found["facets"]["segmind_image"]["inputs"][0]: found["name"] for found in batch["outputs"]}
    for number in range(3):
        assert f"/batch/batch-{number}-" in pairs[f"{rig.images.url}/batch-{number}.jpg"]
    facet = batch["run"]["facets"]["segmind_request"]
    assert (facet["model"], facet["cost"]) == ("esrgan", value["metrics"]["cost"])
    assert facet["batch"]["manifest"] == value["manifest"]
    assert (facet["batch"]["total"], facet["batch"]["stored"], facet["batch"]["failed"]) == (3, 3, 0)
    assert len(_asset_events(rig, "lineage_all", ALL_RUN)) == 3

    taskflow = reported("taskflow")
    assert [found["name"] for found in taskflow["inputs"]] == ["taskflow.jpg"]
    assert [found["name"] for found in taskflow["outputs"]] == [f"{_out(rig)}/taskflow.png"]
    assert taskflow["run"]["facets"]["segmind_request"]["parameters"] == {
        "image": f"{rig.images.url}/taskflow.jpg",
        "scale": 2,
        "output_format": "png",
        "quality": 95,
    }

    # The output of one task at Segmind is the input of the transfer.
    upscale, store = reported("upscale"), reported("store")
    assert [found["name"] for found in upscale["inputs"]] == ["upscale.jpg"]
    left = [(found["namespace"], found["name"]) for found in upscale["outputs"]]
    assert left == [(found["namespace"], found["name"]) for found in store["inputs"]]
    assert left[0][0] == rig.emulator_url
    assert [found["name"] for found in store["outputs"]] == [f"{_out(rig)}/store.jpg"]

    failed = reported("fails", "FAIL")
    assert failed["outputs"] == []
    assert failed["run"]["facets"]["segmind_request"]["requestId"]


def test_no_event_reports_a_secret(rig, backend, day, everything):
    rig.wait("the last event", lambda: backend.events("lineage_all.fails", "FAIL", ALL_RUN), seconds=60)
    assert len(backend.reported) > 20
    assert rig.api_key
    for text in backend.reported:
        assert rig.api_key not in text
    lineage = [
        json.dumps([event["inputs"], event["outputs"], event["run"]["facets"].get("segmind_request")])
        for event in map(json.loads, backend.reported)
    ]
    assert "5ec7e7" not in "".join(lineage)
    assert "5ec7e7" not in json.dumps(_asset_events(rig, "lineage_all", ALL_RUN))


def _plain(facet: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facet.items() if not name.startswith("_")}
