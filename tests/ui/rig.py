"""A whole Airflow to look at: its parts as processes, an emulator, photos by URL, and API servers under any path."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from demo.airflow_home import free_ports
from tests.chaos.rig import AIRFLOW, Rig

DAGS = Path(__file__).parent / "dags"
PHOTOS = Path(__file__).parents[1] / "photos"
#: What the model "broken" says of every picture.
BROKEN = "submit:fail:The picture could not be decoded: unexpected end of data%broken"
MODELS = ("--latency", "lognormal:2:0.3", "--model", "slow", "--model", "broken", "--faults", BROKEN)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@dataclass
class UiRig(Rig):
    """
    Airflow with the DAGs of this folder. The photos of ``tests/photos`` are served under their names.

    Further API servers on the same database (:meth:`serve`) show the UI under another path, or to other users.
    """

    dags_from: Path = DAGS
    emulator_options: Sequence[str] = MODELS
    urls: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._photos = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(PHOTOS)))
        self.photos = f"http://127.0.0.1:{self._photos.server_port}"
        threading.Thread(target=self._photos.serve_forever, daemon=True).start()
        self.environ = {
            **self.environ,
            "UI_PHOTOS": self.photos,
            "UI_PHOTO_FILES": PHOTOS.as_uri(),
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__SEGMIND__SERVE_PREVIEWS": "True",
        }

    def stop(self) -> None:
        self._photos.shutdown()
        self._photos.server_close()
        super().stop()

    def start_airflow(self) -> None:
        super().start_airflow()
        self.urls[""] = self.url

    def serve(self, path: str = "", **settings: str) -> str:
        """
        Start another API server, and return its address once it answers.

        :param path: below which path, such as ``/team``; "" for none.
        :param settings: Airflow's settings as environment variables, where they differ from the first one's.
        """
        [port] = free_ports(1)
        url = f"http://127.0.0.1:{port}{path}"
        kept, self.environ = self.environ, {
            **self.environ,
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": url,
            **settings,
        }  # fmt: skip
        try:
            name = f"api-server{path.replace('/', '-')}-{port}"
            with (self.path / f"{name}.log").open("a") as log:
                self._start([AIRFLOW, "api-server"], log, f"{name}.log")
        finally:
            self.environ = kept
        self.wait(f"{url} answers", lambda: _answers(f"{url}/api/v2/version"), seconds=90)
        return url

    def hold(self) -> None:
        """Let requests of the model "slow" go on for ever, from now on."""
        self.emulator("faults", "POST", faults="status:stuck%slow")

    def release(self) -> None:
        """Let them end."""
        self.emulator("faults", "DELETE")
        self.emulator("faults", "POST", faults=BROKEN)

    def run_all(self, *runs: tuple[str, str], seconds: float = 150) -> dict[tuple[str, str], str]:
        """Run these (DAG id, run id) side by side, and return how each ended."""
        for dag_id, run_id in runs:
            self.api.trigger_dag(dag_id, run_id)
        return {run: self.finish(*run, seconds=seconds) for run in runs}

    def state_of(self, dag_id: str, run_id: str, task_id: str) -> str | None:
        """The state of a task instance."""
        found = {ti["task_id"]: ti["state"] for ti in self.api.instances(dag_id, run_id)}
        return found.get(task_id)

    def write(self, statement: str, *rows: tuple[Any, ...]) -> None:
        """Change Airflow's database by hand: for what would take days, or thousands of tasks."""
        with contextlib.closing(sqlite3.connect(self.path / "airflow.db", timeout=60)) as database, database:
            database.executemany(statement, rows)

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Read Airflow's database."""
        with contextlib.closing(sqlite3.connect(self.path / "airflow.db", timeout=60)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(statement, values)]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
