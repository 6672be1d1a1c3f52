"""A real Airflow whose parts can be killed one by one, an emulator, and an image host, as processes."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

import httpx
import psutil  # type: ignore[import-untyped]  # Airflow brings it
from cryptography.fernet import Fernet

from demo.airflow_home import Home, free_ports, wait_for
from tests.chaos.api import ChaosApi
from tests.chaos.hosts import ImageHost
from tests.templates import copy_database

AIRFLOW = str(Path(sys.executable).with_name("airflow"))
ROOT = Path(__file__).resolve().parents[2]
DAGS = Path(__file__).parent / "dags"
#: Size of a whole object: twice that of the image that every case upscales.
UPSCALED = (600, 400)
#: Maximum number of tasks that run at once.
PARALLELISM = 8


@dataclass
class Rig(Home):
    """
    An AIRFLOW_HOME with its own scheduler, triggerer, DAG processor and API server. Use it as a context manager.

    :param dags: names of the DAG files that this Airflow reads.
    :param dags_from: the folder of these files (default: ``dags/`` beside this file).
    :param emulator_options: options of the emulator's command line.
    :param connection_fields: fields of the Segmind connection that differ from the emulator's.
    :param environ: further variables for every process.
    """

    parts: ClassVar[Sequence[str]] = ("api-server", "scheduler", "triggerer", "dag-processor")
    dags: Sequence[str] = ()
    dags_from: Path = DAGS
    emulator_options: Sequence[str] = ("--latency", "1.5")
    connection_fields: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    components: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.secrets = {name: secrets.token_urlsafe(32) for name in ("jwt", "api")}
        self.secrets["fernet"] = Fernet.generate_key().decode()
        self.images = ImageHost()

    @property
    def out(self) -> Path:
        """The destination of the tasks: one folder for each DAG run."""
        return self.path / "out"

    @property
    def api_key(self) -> str:
        """The key in the connection."""
        return str(json.loads(self.connection)["password"])

    # --- start, stop, kill ----------------------------------------------------------------------------------

    def prepare(self) -> None:
        super().prepare()
        shutil.rmtree(self.path / "dags")
        (self.path / "dags").mkdir()
        for folder in ("out", "marks", "tmp"):
            (self.path / folder).mkdir()
        for name in self.dags:
            shutil.copy(self.dags_from / f"{name}.py", self.path / "dags")

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.images.start()
            self.start_emulator(*self.emulator_options)
            self.connection = json.dumps(json.loads(self.connection) | self.connection_fields)
            self.start_airflow()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        self.images.stop()
        super().stop()

    def start_airflow(self) -> None:
        """Create the database and start every part; return when all are healthy and every DAG is known."""
        self.port, self._worker_logs, self._trigger_logs = free_ports(3)
        self.url = f"http://127.0.0.1:{self.port}"
        self.make_database()
        for component in self.parts:
            self.start_component(component)
        self.api = self.new_api()
        self.wait("Airflow's API server", self.api.sign_in, seconds=240)
        self.wait("every DAG", lambda: self.api.dag_files() == set(self.dags), seconds=240)
        self.wait("every part of Airflow", self.api.is_healthy, seconds=120)

    def make_database(self) -> None:
        """Create the tables. If the database is Airflow's default, a file in its home, copy a migrated one."""
        if "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" not in self.environment():
            copy_database(self.path)
            return
        migration = self._start([AIRFLOW, "db", "migrate"], subprocess.DEVNULL, "migrate.log")
        if migration.wait(timeout=180):
            raise RuntimeError(f"airflow db migrate failed:\n{self.tail('migrate.log')}")
        self.processes.remove(migration)

    def new_api(self) -> ChaosApi:
        """Return a client of this Airflow's API that is not signed in yet."""
        return ChaosApi(self.url)

    def start_component(self, name: str) -> None:
        """Start one part of Airflow in its own session."""
        with (self.path / f"{name}.log").open("a") as log:
            self.components[name] = self._start([AIRFLOW, *self.command(name)], log, f"{name}.log")

    def command(self, name: str) -> list[str]:
        """Return the arguments of Airflow's command for a part."""
        return [name]

    def kill_component(self, name: str) -> None:
        """Send SIGKILL to one part and all of its children, as when its container dies."""
        process = self.components.pop(name)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGKILL)
        self.processes.remove(process)
        process.wait(timeout=10)
        _, alive = psutil.wait_procs(family[1:], timeout=10)
        if alive:
            raise RuntimeError(f"children of {name} are still running: {alive}")

    def environment(self) -> dict[str, str]:
        kept = super().environment() | {
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
            "TMPDIR": str(self.path / "tmp"),  # keeps the files about rate limits in this home
            "CHAOS_MARKS": str(self.path / "marks"),
            "CHAOS_OUT": str(self.out),
            "CHAOS_IMAGES": self.images.url,
            "CHAOS_GATEWAY": self.emulator_url,
        }
        if self.connection:
            kept["SEGMIND_API_KEY"] = self.api_key  # the vendor's SDK reads it there
            kept["AIRFLOW_CONN_SEGMIND_HTTP"] = json.dumps(
                {"conn_type": "http", "host": self.emulator_url, "extra": {"x-api-key": self.api_key}}
            )
        return kept | self.environ

    def _airflow_settings(self) -> dict[str, str]:
        # A dead triggerer is detected within seconds. The scheduler keeps Airflow's limits: on a busy machine its
        # heartbeat may be ten seconds late, and with a low limit it treats its own tasks as orphans.
        return super()._airflow_settings() | {
            "AIRFLOW__API_AUTH__JWT_SECRET": self.secrets["jwt"],
            "AIRFLOW__API__SECRET_KEY": self.secrets["api"],
            "AIRFLOW__API__WORKERS": "1",  # Airflow 3.0 starts four
            "AIRFLOW__CORE__FERNET_KEY": self.secrets["fernet"],
            "AIRFLOW__CORE__PARALLELISM": str(PARALLELISM),
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "300",
            "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
            "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "64",
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "12",
            "AIRFLOW__TRIGGERER__CAPACITY": "1000",
        }

    # --- runs -----------------------------------------------------------------------------------------------

    def wait(self, what: str, ready: Any, *, seconds: float) -> Any:
        """Wait until ``ready`` returns a true value; after ``seconds``, raise TimeoutError with the end of the logs."""
        try:
            return wait_for(what, ready, home=self, seconds=seconds)
        except Exception as error:
            names = dict.fromkeys((*self.parts, *self.components))  # includes killed and additional parts
            logs = "\n".join(f"--- {name}\n{self.tail(f'{name}.log', 15)}" for name in names)
            raise TimeoutError(f"{error}\n{logs}\n{self._logged_by_tasks()}") from error

    def run(self, dag_id: str, run_id: str, *, seconds: float, conf: dict[str, Any] | None = None) -> str:
        """Start a run, wait for its end, and return its state."""
        self.api.trigger_dag(dag_id, run_id, conf)
        return self.finish(dag_id, run_id, seconds=seconds)

    def finish(self, dag_id: str, run_id: str, *, seconds: float) -> str:
        """Wait for the end of a run and return its state; print the errors of its tasks if it failed."""
        self.wait(f"{dag_id} {run_id} ends", lambda: self.api.has_ended(dag_id, run_id), seconds=seconds)
        state = self.api.state(dag_id, run_id)
        if state != "success":
            print(self._logged_by_tasks())
        return state

    def _logged_by_tasks(self) -> str:
        return "\n".join(f"--- {path.relative_to(self.path)}\n{reported}" for path, reported in self.task_errors())[
            -6000:
        ]

    # --- emulator and state ---------------------------------------------------------------------------------

    def emulator(self, path: str, method: str = "GET", **body: Any) -> Any:
        """Call one of the emulator's own routes."""
        response = httpx.request(
            method, f"{self.emulator_url}/_emulator/{path}", json=body or None, timeout=30, trust_env=False
        )
        return response.raise_for_status().json()

    def submit(self, model: str, **parameters: Any) -> dict[str, Any]:
        """Submit a request as another user of the key, and return the response."""
        url, headers = f"{self.emulator_url}/v2/{model}", {"x-api-key": self.api_key}
        made = httpx.post(url, json=parameters, headers=headers, timeout=30, trust_env=False)
        submitted: dict[str, Any] = made.raise_for_status().json()
        return submitted

    def stats(self) -> dict[str, Any]:
        """Return the emulator's counters."""
        counters: dict[str, Any] = self.emulator("stats")
        return counters

    def submits(self) -> Counter[str]:
        """Return the number of accepted submits by name of the image."""
        return Counter(urlsplit(seen["parameters"]["image"]).path[1:] for seen in self.emulator("requests"))

    def wait_until_deferred(self, dag_id: str, run_id: str, *, seconds: float = 120) -> None:
        """
        Wait until every task of the run waits in the triggerer, and the scheduler knows that its process has ended.

        If a task resumes earlier, the scheduler treats it as killed.
        """

        def all_deferred() -> bool:
            instances = self.api.instances(dag_id, run_id)
            if {ti["state"] for ti in instances} != {"deferred"}:
                return False
            log = (self.path / "scheduler.log").read_text(errors="replace")
            return all(_executor_event(dag_id, run_id, ti) in log for ti in instances)

        self.wait(f"{dag_id} {run_id} is deferred", all_deferred, seconds=seconds)


def _executor_event(dag_id: str, run_id: str, ti: dict[str, Any]) -> str:
    """Return the line that the scheduler logs when the executor reports the end of a task's process."""
    names = f"dag_id={dag_id!r}, task_id={ti['task_id']!r}, run_id={run_id!r}"
    key = f"TaskInstanceKey({names}, try_number={ti['try_number']}, map_index={ti['map_index']})"
    return f"Received executor event with state success for task instance {key}"
