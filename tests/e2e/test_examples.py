"""Run every file of dags_examples on the shared Airflow with the emulator."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demo.airflow_home import PROJECT
from demo.api import MODELS
from tests.databases import postgres, postgres_binaries
from tests.shared_airflow import EXAMPLES, SharedAirflow

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e

RUN = "example"
#: File -> parameters of its run, small enough that all runs take a minute. A DAG that is scheduled on assets has none,
#: because the output of another example starts it. Placeholders: the URL of an image, a folder of images, a folder with
#: a folder for each day, a folder for outputs.
PARAMETERS: dict[str, dict[str, Any]] = {
    "bria_increase_resolution": {"image": "{image}", "destination": "{out}/"},
    "budget": {"images": ["{image}"], "destination": "{out}/", "budget": 1},
    "daily_folder": {"source": "{days}", "destination": "{out}"},
    "esrgan": {"image": "{image}", "destination": "{out}/"},
    "nomos_upscaler": {"image": "{image}", "destination": "{out}/"},
    "split_pipeline": {"images": ["{image}"], "destination": "{out}/"},
    "taskflow": {"images": [{"image": "{image}", "width": 300}], "width": 600, "destination": "{out}/"},
    "upscale_catalogue": {"source": "{folder}", "destination": "{out}"},
    "upscale_folder": {"source": "{folder}", "destination": "{out}"},
}


@dataclass
class Ran:
    """The outcome of every DAG that the examples define."""

    #: File name without extension -> the ids of its DAGs.
    dags: dict[str, list[str]]
    #: DAG id -> its runs by id, each with its state and the states of its task instances.
    runs: dict[str, dict[str, tuple[str, list[str]]]]
    #: The emulator's counters during these runs, by model.
    counted: dict[str, Counter[str]]
    errors: str


@pytest.fixture(scope="module")
def ran(shared_airflow: SharedAirflow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("examples")
    today = datetime.now(UTC)
    days = [folder / "days" / f"{day:%Y-%m-%d}" for day in (today, today + timedelta(days=1))]
    for images in [folder / "images", *days]:
        images.mkdir(parents=True)
        shutil.copy(PROJECT / "tests" / "photos" / "cat.jpg", images)
    places = {
        "image": f"{shared_airflow.images.url}/example.jpg",
        "folder": (folder / "images").as_uri(),
        "days": (folder / "days").as_uri(),
    }
    with catalogue(folder) as connection:
        shared_airflow.api.create_connection("segmind_catalogue", connection)
        yield run_all(shared_airflow, places, folder / "out")


@contextmanager
def catalogue(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the connection to a database for the example of the catalogue."""
    if binaries := postgres_binaries():
        with postgres(binaries) as server:
            yield json.loads(server.connection)
    else:
        yield {"conn_type": "sqlite", "host": str(folder / "catalogue.db")}


def run_all(rig: SharedAirflow, places: dict[str, str], out: Path) -> Ran:
    """Start every example that no asset starts, and wait until each has run."""
    before = counted_of(rig)
    files = {file.stem for file in EXAMPLES}
    dags = {str(dag["dag_id"]): dag for dag in rig.api.dags() if Path(dag["fileloc"]).stem in files}
    for dag_id, dag in dags.items():
        if not is_started_by_assets(dag):
            name = Path(dag["fileloc"]).stem
            assert name in PARAMETERS, f"{name}.py is new: add the parameters of its run to PARAMETERS"
            rig.api.trigger_dag(dag_id, RUN, filled(PARAMETERS[name], places | {"out": (out / name).as_uri()}))

    def runs_of(dag_id: str) -> dict[str, str]:
        """Return the runs of this test, without those of other tests or of a timetable."""
        runs = {run["dag_run_id"]: run["state"] for run in rig.api.dag_runs(dag_id)}
        if not is_started_by_assets(dags[dag_id]):
            return {RUN: runs[RUN]}
        return {run_id: state for run_id, state in runs.items() if RUN in started_by(rig, dag_id, run_id)}

    def all_ended() -> bool:
        states = [set(runs_of(dag_id).values()) for dag_id in dags]
        return all(found and found <= {"success", "failed"} for found in states)

    rig.wait("every example's run", all_ended, seconds=420)
    found = {
        dag_id: {
            run_id: (state, [str(ti["state"]) for ti in rig.api.instances(dag_id, run_id)])
            for run_id, state in runs_of(dag_id).items()
        }
        for dag_id in dags
    }
    by_file: dict[str, list[str]] = {}
    for dag_id, dag in dags.items():
        by_file.setdefault(Path(dag["fileloc"]).stem, []).append(dag_id)
    errors = "\n".join(f"--- {path.relative_to(rig.path)}\n{reported}" for path, reported in rig.task_errors())
    counted = {model: count - before[model] for model, count in counted_of(rig).items()}
    return Ran(by_file, found, counted, errors)


def started_by(rig: SharedAirflow, dag_id: str, run_id: str) -> set[str]:
    """Return the ids of the runs whose assets started this one."""
    events = rig.api.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/upstreamAssetEvents")["asset_events"]
    return {event["source_run_id"] for event in events}


def counted_of(rig: SharedAirflow) -> dict[str, Counter[str]]:
    """Return the emulator's counters of the three upscalers. Every test waits for the end of its requests to them."""
    found = rig.stats()["by_model"]
    names = ("attempted", "accepted", "billed")
    return {model: Counter({name: found.get(model, {}).get(name, 0) for name in names}) for model in MODELS.values()}


def is_started_by_assets(dag: dict[str, Any]) -> bool:
    """Return whether the scheduler starts the DAG when an asset is updated."""
    return "Asset" in str(dag["timetable_summary"])


def filled(parameters: dict[str, Any], places: dict[str, str]) -> Any:
    """Return the parameters with the placeholders replaced."""
    text = json.dumps(parameters)
    for name, place in places.items():
        text = text.replace(f"{{{name}}}", place)
    return json.loads(text)


@pytest.mark.parametrize("name", [file.stem for file in EXAMPLES])
def test_example_runs_green(ran: Ran, name: str) -> None:
    assert ran.dags[name]
    for dag_id in ran.dags[name]:
        assert ran.runs[dag_id]
        for run_id, (state, tasks) in ran.runs[dag_id].items():
            assert state == "success", f"{dag_id} {run_id}\n{ran.errors}"
            assert "success" in tasks, f"{dag_id} {run_id}: no task ran, {tasks}"
            assert set(tasks) <= {"success", "skipped"}, f"{dag_id} {run_id}: {tasks}\n{ran.errors}"


def test_each_submit_was_billed_once(ran: Ran) -> None:
    for model, counted in ran.counted.items():
        assert counted["attempted"] == counted["accepted"] == counted["billed"] > 0, model


def test_no_key_went_to_another_host_or_a_download(ran: Ran, shared_airflow: SharedAirflow) -> None:
    stats = shared_airflow.stats()
    assert stats["keys_seen_on_downloads"] == stats["keys_seen_elsewhere"] == 0
