"""Every file of dags_examples on one real ``airflow standalone``, with the emulator as a process beside it."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demo.airflow_home import PROJECT, Home, wait_for
from demo.api import emulator_stats
from tests.chaos.api import ChaosApi
from tests.chaos.hosts import PictureHost
from tests.databases import postgres, postgres_binaries

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e

EXAMPLES = sorted(path for path in (PROJECT / "dags_examples").glob("*.py") if path.name != "__init__.py")
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
    "taskflow": {"pictures": [{"image": "{picture}", "width": 300}], "width": 600, "destination": "{out}/"},
    "upscale_catalogue": {"source": "{folder}", "destination": "{out}"},
    "upscale_folder": {"source": "{folder}", "destination": "{out}"},
}


@dataclass
class ExamplesHome(Home):
    """
    An Airflow that reads every example.

    :param environ: further variables for every process.
    """

    environ: dict[str, str] = field(default_factory=dict, repr=False)

    def prepare(self) -> None:
        super().prepare()
        for file in EXAMPLES:
            shutil.copy(file, self.path / "dags")

    def environment(self) -> dict[str, str]:
        return super().environment() | self.environ


@dataclass
class Ran:
    """What became of every DAG that the examples define."""

    #: File name without ending -> the ids of its DAGs.
    dags: dict[str, list[str]]
    #: DAG id -> its runs by id, each with its state and the states of its task instances.
    runs: dict[str, dict[str, tuple[str, list[str]]]]
    stats: dict[str, Any]
    errors: str


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("examples")
    today = datetime.now(UTC)
    days = [folder / "days" / f"{day:%Y-%m-%d}" for day in (today, today + timedelta(days=1))]
    for pictures in [folder / "pictures", *days]:
        pictures.mkdir(parents=True)
        shutil.copy(PROJECT / "tests" / "photos" / "cat.jpg", pictures)
    with ExitStack() as stack:
        host = PictureHost()
        host.start()
        stack.callback(host.stop)
        home = stack.enter_context(ExamplesHome(folder / "airflow"))
        if binaries := postgres_binaries():
            catalogue = stack.enter_context(postgres(binaries)).connection
        else:
            catalogue = f"sqlite://{folder / 'catalogue.db'}"
        home.environ["AIRFLOW_CONN_SEGMIND_CATALOGUE"] = catalogue
        home.start_emulator("--latency", "1")
        home.start_airflow()
        api = ChaosApi(home.url)
        stack.callback(api.close)
        places = {
            "picture": f"{host.url}/cat.jpg",
            "folder": (folder / "pictures").as_uri(),
            "days": (folder / "days").as_uri(),
        }
        try:
            yield run_all(home, api, places, folder / "out")
        except Exception:
            sys.stderr.write(home.tail(lines=80))  # pytest shows it with the failure
            raise


def run_all(home: ExamplesHome, api: ChaosApi, places: dict[str, str], out: Path) -> Ran:
    """Start every example that nothing else starts, and wait until each has run."""
    wait_for("the API", api.sign_in, home=home, seconds=240)
    files = {file.stem for file in EXAMPLES}
    wait_for("the DAGs", lambda: api.dag_files() == files, home=home, seconds=240)
    dags = {str(dag["dag_id"]): dag for dag in api.get("/api/v2/dags", limit=100)["dags"]}
    for dag_id, dag in dags.items():
        if not is_started_by_assets(dag):
            name = Path(dag["fileloc"]).stem
            assert name in PARAMETERS, f"{name}.py is new: say in PARAMETERS with what it is to be run"
            api.trigger_dag(dag_id, RUN, filled(PARAMETERS[name], places | {"out": (out / name).as_uri()}))

    def runs_of(dag_id: str) -> dict[str, str]:
        runs = {run["dag_run_id"]: run["state"] for run in api.get(f"/api/v2/dags/{dag_id}/dagRuns")["dag_runs"]}
        # A DAG with a timetable is started by the scheduler, too, with the folders of its defaults: not our affair.
        return runs if is_started_by_assets(dags[dag_id]) else {RUN: runs[RUN]}

    def all_ended() -> bool:
        states = [set(runs_of(dag_id).values()) for dag_id in dags]
        return all(found and found <= {"success", "failed"} for found in states)

    wait_for("every example's run", all_ended, home=home, seconds=420)
    found = {
        dag_id: {
            run_id: (state, [str(ti["state"]) for ti in api.instances(dag_id, run_id)])
            for run_id, state in runs_of(dag_id).items()
        }
        for dag_id in dags
    }
    by_file: dict[str, list[str]] = {}
    for dag_id, dag in dags.items():
        by_file.setdefault(Path(dag["fileloc"]).stem, []).append(dag_id)
    errors = "\n".join(f"--- {path.relative_to(home.path)}\n{said}" for path, said in home.task_errors())
    return Ran(by_file, found, emulator_stats(home.emulator_url), errors)


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
    assert ran.stats["submits_attempted"] == ran.stats["submits_accepted"] == ran.stats["billed"] > 0
    assert ran.stats["keys_seen_on_downloads"] == ran.stats["keys_seen_elsewhere"] == 0
