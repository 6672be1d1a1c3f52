"""Every file of dags_examples on the shared Airflow, with the emulator as a process beside it."""

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
#: File -> the run's parameters, so small that all of them take a minute. A DAG that is scheduled on assets has none:
#: it has to start by what another example stores. In them: a picture's URL, a folder of pictures, a folder of days'
#: folders, a folder for outputs.
PARAMETERS: dict[str, dict[str, Any]] = {
    "bria_increase_resolution": {"image": "{picture}", "destination": "{out}/"},
    "budget": {"images": ["{picture}"], "destination": "{out}/", "budget": 1},
    "daily_folder": {"source": "{days}", "destination": "{out}"},
    "esrgan": {"image": "{picture}", "destination": "{out}/"},
    "nomos_upscaler": {"image": "{picture}", "destination": "{out}/"},
    "split_pipeline": {"images": ["{picture}"], "destination": "{out}/"},
    "taskflow": {"images": [{"image": "{picture}", "width": 300}], "width": 600, "destination": "{out}/"},
    "upscale_catalogue": {"source": "{folder}", "destination": "{out}"},
    "upscale_folder": {"source": "{folder}", "destination": "{out}"},
}


@dataclass
class Ran:
    """What became of every DAG that the examples define."""

    #: File name without ending -> the ids of its DAGs.
    dags: dict[str, list[str]]
    #: DAG id -> its runs by id, each with its state and the states of its task instances.
    runs: dict[str, dict[str, tuple[str, list[str]]]]
    #: What the emulator counted of the examples' models meanwhile, by model.
    counted: dict[str, Counter[str]]
    errors: str


@pytest.fixture(scope="module")
def ran(shared_airflow: SharedAirflow, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("examples")
    today = datetime.now(UTC)
    days = [folder / "days" / f"{day:%Y-%m-%d}" for day in (today, today + timedelta(days=1))]
    for images in [folder / "pictures", *days]:
        images.mkdir(parents=True)
        shutil.copy(PROJECT / "tests" / "photos" / "cat.jpg", images)
    places = {
        "picture": f"{shared_airflow.images.url}/example.jpg",
        "folder": (folder / "pictures").as_uri(),
        "days": (folder / "days").as_uri(),
    }
    with catalogue(folder) as connection:
        shared_airflow.api.create_connection("segmind_catalogue", connection)
        yield run_all(shared_airflow, places, folder / "out")


@contextmanager
def catalogue(folder: Path) -> Iterator[dict[str, Any]]:
    """The connection of a database for the catalogue's example."""
    if binaries := postgres_binaries():
        with postgres(binaries) as server:
            yield json.loads(server.connection)
    else:
        yield {"conn_type": "sqlite", "host": str(folder / "catalogue.db")}


def run_all(rig: SharedAirflow, places: dict[str, str], out: Path) -> Ran:
    """Start every example that nothing else starts, and wait until each has run."""
    before = counted_of(rig)
    files = {file.stem for file in EXAMPLES}
    dags = {str(dag["dag_id"]): dag for dag in rig.api.dags() if Path(dag["fileloc"]).stem in files}
    for dag_id, dag in dags.items():
        if not is_started_by_assets(dag):
            name = Path(dag["fileloc"]).stem
            assert name in PARAMETERS, f"{name}.py is new: say in PARAMETERS with what it is to be run"
            rig.api.trigger_dag(dag_id, RUN, filled(PARAMETERS[name], places | {"out": (out / name).as_uri()}))

    def runs_of(dag_id: str) -> dict[str, str]:
        """Without those of other tests, and those that a timetable starts, with the folders of the defaults."""
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
    """The ids of the runs whose assets started this one."""
    events = rig.api.get(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/upstreamAssetEvents")["asset_events"]
    return {event["source_run_id"] for event in events}


def counted_of(rig: SharedAirflow) -> dict[str, Counter[str]]:
    """What the emulator has counted of the three upscalers: every test waits for the end of what it submits to them."""
    found = rig.stats()["by_model"]
    names = ("attempted", "accepted", "billed")
    return {model: Counter({name: found.get(model, {}).get(name, 0) for name in names}) for model in MODELS.values()}


def is_started_by_assets(dag: dict[str, Any]) -> bool:
    """Whether the scheduler starts the DAG by itself once an asset is there."""
    return "Asset" in str(dag["timetable_summary"])


def filled(parameters: dict[str, Any], places: dict[str, str]) -> Any:
    """The parameters with the places of this run in them."""
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
            assert "success" in tasks, f"{dag_id} {run_id}: nothing was done, {tasks}"
            assert set(tasks) <= {"success", "skipped"}, f"{dag_id} {run_id}: {tasks}\n{ran.errors}"


def test_each_submit_was_paid_once(ran: Ran) -> None:
    for model, counted in ran.counted.items():
        assert counted["attempted"] == counted["accepted"] == counted["billed"] > 0, model


def test_no_key_went_to_another_host_or_a_download(ran: Ran, shared_airflow: SharedAirflow) -> None:
    stats = shared_airflow.stats()
    assert stats["keys_seen_on_downloads"] == stats["keys_seen_elsewhere"] == 0
