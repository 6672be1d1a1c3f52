"""
The complete Airflow that the e2e and UI tests share: one home and one emulator, started once per session.

Tests are separated by DAG ids, run ids, folders in ``out``, and special models of the emulator for requests that fail
or wait. A test that changes something for the others (faults, dates, rows, a server) restores it. A test that kills a
part of Airflow needs its own ``Rig``. So does a DAG with ``end_from_trigger``, which Airflow refuses with OpenLineage.
No DAG here may use an image that requires a password (``ImageHost`` requires one below ``/private/``): the gallery
shows it, and while Chromium asks for the password, its pages receive no click.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from demo.airflow_home import PROJECT, free_ports
from tests.chaos.rig import Rig
from tests.e2e.backend import Backend
from tests.templates import DATABASE, copy_database

TESTS = Path(__file__).parent
PHOTOS = TESTS / "photos"
EXAMPLES = sorted(path for path in (PROJECT / "dags_examples").glob("*.py") if path.name != "__init__.py")
DAG_FILES = [
    *EXAMPLES,
    TESTS / "e2e/dags/lineage_all.py",
    TESTS / "plugins/dags/previews.py",
    TESTS / "ui/dags/ui_images.py",
]
#: Models that only the emulator has: "slow" waits while a test requests it, "broken" fails.
MODELS = ("slow", "broken")
FAULTS = "submit:fail:The image could not be decoded: unexpected end of data%broken"
#: Users and roles of the servers with users; the password is "of-" and the name. Each user has its own rate limit.
USERS = {"admin": "admin", "viewer": "viewer", "nobody": "", "hasty": "viewer"}


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@dataclass(frozen=True)
class Server:
    """An additional API server: its address, and the name of the part and of its log."""

    url: str
    name: str


@dataclass
class SharedAirflow(Rig):
    """
    Airflow with the DAGs of the examples, the e2e tests, the UI tests and the plugin's tests. Previews are served.

    It serves the photos of ``tests/photos`` under their names. OpenLineage events go to ``lineage``. Additional API
    servers on the same database (:meth:`serve`) show the UI under another path or to other users.
    """

    emulator_options: Sequence[str] = (
        *("--latency", "lognormal:2:0.3", "--faults", FAULTS),
        *(word for model in MODELS for word in ("--model", model)),
    )
    servers: dict[str, Server] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._photos = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(PHOTOS)))
        self.photos = f"http://127.0.0.1:{self._photos.server_port}"
        threading.Thread(target=self._photos.serve_forever, daemon=True).start()
        self.lineage = Backend()
        self._starting = ""
        self.environ = {
            **self.environ,
            "UI_PHOTOS": self.photos,
            "UI_PHOTO_FILES": PHOTOS.as_uri(),
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "2",
            "AIRFLOW__SEGMIND__SERVE_PREVIEWS": "True",
            **_openlineage(self.lineage),
        }

    def prepare(self) -> None:
        super().prepare()
        for file in DAG_FILES:
            shutil.copy(file, self.path / "dags")
        self.dags = [file.stem for file in DAG_FILES]
        assert len(set(self.dags)) == len(self.dags), self.dags
        (self.path / "passwords.json").write_text(json.dumps({name: f"of-{name}" for name in USERS}))

    def stop(self) -> None:
        super().stop()
        self._photos.shutdown()
        self._photos.server_close()
        self.lineage.stop()

    # --- the database ---------------------------------------------------------------------------------------

    def make_database(self) -> None:
        """Copy a database, and switch it to WAL, so that readers and the writer do not wait for each other."""
        copy_database(self.path)
        with contextlib.closing(sqlite3.connect(self.path / DATABASE)) as database:
            database.execute("PRAGMA journal_mode = WAL")

    def start_component(self, name: str) -> None:
        self._starting = name
        super().start_component(name)

    def environment(self) -> dict[str, str]:
        """
        Return the environment, with the timeout of the part that starts for the database.

        On a busy machine the default of 5 s is too short for scheduler, triggerer and DAG processor, which end then. It
        is too long for an API server, which waits on the event loop that the call with the lock needs. Its clients
        retry.
        """
        seconds = 2 if self._starting.startswith("api-server") else 60
        database = f"sqlite:///{self.path / DATABASE}?timeout={seconds}"
        return super().environment() | {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database}

    # --- further API servers --------------------------------------------------------------------------------

    def address(self, path: str) -> str:
        """Return the address of the UI at the root ("") or below a path such as ``/team``; start its server once."""
        return self._once(path, path).url if path else self.url

    def with_users(self) -> Server:
        """Return a server with ``USERS``, started once. Only ``admin`` may read some of the DAGs."""
        return self._once("users", "/users", **self.user_settings())

    def user_settings(self) -> dict[str, str]:
        """Return the settings of a server with users."""
        return {
            "AIRFLOW__CORE__AUTH_MANAGER": "tests.plugins.strict.StrictAuthManager",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.path / "passwords.json"),
        }

    def _once(self, name: str, path: str, **settings: str) -> Server:
        if name not in self.servers:
            self.servers[name] = self.serve(path, **settings)
        return self.servers[name]

    def serve(self, path: str = "", **settings: str) -> Server:
        """
        Start another API server, and return it once it responds.

        :param path: base path, such as ``/team``; "" (the default): none.
        :param settings: environment variables with Airflow's settings that differ from the first server's.
        """
        [port] = free_ports(1)
        server = Server(f"http://127.0.0.1:{port}{path}", f"api-server{path.replace('/', '-')}-{port}")
        kept, self.environ = self.environ, {
            **self.environ,
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__BASE_URL": server.url,
            **settings,
        }  # fmt: skip
        try:
            self.start_component(server.name)
        finally:
            self.environ = kept
        self.wait(f"{server.name}", lambda: _responds(f"{server.url}/api/v2/version"), seconds=180)
        return server

    def command(self, name: str) -> list[str]:
        return ["api-server"] if name.startswith("api-server") else [name]

    # --- the emulator, runs, rows ---------------------------------------------------------------------------

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep requests to the model "slow" running until the block ends."""
        self.emulator("faults", "POST", faults="status:stuck%slow")
        try:
            yield
        finally:
            self.emulator("faults", "DELETE")
            self.emulator("faults", "POST", faults=FAULTS)

    def run_all(self, *runs: tuple[str, str], seconds: float = 300) -> dict[tuple[str, str], str]:
        """Run these (DAG id, run id) at the same time, and return the final state of each."""
        for dag_id, run_id in runs:
            self.api.trigger_dag(dag_id, run_id)
        return {run: self.finish(*run, seconds=seconds) for run in runs}

    def write(self, statement: str, *rows: tuple[Any, ...]) -> None:
        """Write to Airflow's database directly, for states that would take days or thousands of tasks."""
        with contextlib.closing(sqlite3.connect(self.path / DATABASE, timeout=60)) as database, database:
            database.executemany(statement, rows)

    def rows(self, statement: str, *values: Any) -> list[dict[str, Any]]:
        """Query Airflow's database."""
        with contextlib.closing(sqlite3.connect(self.path / DATABASE, timeout=60)) as database:
            database.row_factory = sqlite3.Row
            return [dict(row) for row in database.execute(statement, values)]


@contextmanager
def started(home: Path) -> Iterator[SharedAirflow]:
    """Run the shared Airflow. At the end, assert that no process is left and no OpenLineage event contains the key."""
    with SharedAirflow(home) as running:
        key = running.api_key
        yield running
    assert not running.running(), "processes are left behind"
    assert not any(key in text for text in running.lineage.reported)


def _openlineage(backend: Backend) -> dict[str, str]:
    settings = {
        "TRANSPORT": json.dumps({"type": "http", "url": backend.url, "endpoint": "api/v1/lineage"}),
        "NAMESPACE": "rig",
        "INCLUDE_FULL_TASK_INFO": "True",  # every attribute of the operators
        "EXECUTION_TIMEOUT": "60",
    }
    return {f"AIRFLOW__OPENLINEAGE__{name}": value for name, value in settings.items()}


def _responds(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
