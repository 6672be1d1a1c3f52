"""
The chaos tests' interface to Airflow 2, which has no REST API without its web server and no separate DAG processor.

Its command line starts runs; states and XComs are read from its metadata database.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy import create_engine, text

from tests.chaos.api import ChaosApi
from tests.chaos.rig import AIRFLOW, Rig
from tests.databases import PostgresServer, postgres_binaries

#: Maximum age of a heartbeat: far more than its interval.
_SILENT = timedelta(seconds=30)


class ChaosApi2(ChaosApi):
    """
    The API of the chaos tests for Airflow 2.

    :param database: SQLAlchemy URL of the metadata database.
    :param airflow: runs Airflow's command line.
    """

    def __init__(self, database: str, airflow: Callable[..., None]) -> None:
        super().__init__("http://127.0.0.1")
        self._engine = create_engine(database)
        self._airflow = airflow

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()
        super().close()

    def _rows(self, query: str, **given: Any) -> list[dict[str, Any]]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(text(query), given).mappings()]

    def sign_in(self) -> bool:
        return True

    def dag_files(self) -> set[str]:
        if errors := self._rows("SELECT stacktrace FROM import_error"):
            raise RuntimeError(errors[0]["stacktrace"])
        return {Path(dag["fileloc"]).stem for dag in self._rows("SELECT fileloc FROM dag")}

    def is_healthy(self) -> bool:
        jobs = self._rows("SELECT job_type, latest_heartbeat FROM job WHERE state = 'running'")
        alive = {job["job_type"] for job in jobs if datetime.now(UTC) - _time(job["latest_heartbeat"]) < _SILENT}
        return {"SchedulerJob", "TriggererJob"} <= alive

    def trigger_dag(self, dag_id: str, run_id: str, conf: dict[str, Any] | None = None) -> None:
        self._airflow("dags", "trigger", dag_id, "--run-id", run_id, "--conf", json.dumps(conf or {}))

    def state(self, dag_id: str, run_id: str) -> str:
        [run] = self._rows("SELECT state FROM dag_run WHERE dag_id = :dag AND run_id = :run", dag=dag_id, run=run_id)
        return str(run["state"])

    def instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        query = "SELECT task_id, map_index, state, try_number FROM task_instance WHERE dag_id = :dag AND run_id = :run"
        return self._rows(query, dag=dag_id, run=run_id)

    def count(self, dag_id: str, run_id: str, state: str) -> int:
        return sum(ti["state"] == state for ti in self.instances(dag_id, run_id))

    def clear(self, dag_id: str, run_id: str) -> None:
        query = "SELECT execution_date FROM dag_run WHERE dag_id = :dag AND run_id = :run"
        [run] = self._rows(query, dag=dag_id, run=run_id)
        day = _time(run["execution_date"]).isoformat()
        self._airflow("tasks", "clear", dag_id, "--yes", "--start-date", day, "--end-date", day)

    def returned(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        query = (
            "SELECT value FROM xcom WHERE key = 'return_value'"
            " AND dag_id = :dag AND run_id = :run AND task_id = :task AND map_index = :index"
        )
        [found] = self._rows(query, dag=dag_id, run=run_id, task=task_id, index=map_index)
        return json.loads(bytes(found["value"]))


@dataclass
class Rig2(Rig):
    """
    Airflow 2: a scheduler, which also reads the DAG files, and a triggerer.

    It uses PostgreSQL with ``LocalExecutor`` if Debian's package is installed; otherwise SQLite, on which Airflow 2
    runs one task at a time.
    """

    parts: ClassVar[Sequence[str]] = ("scheduler", "triggerer")

    def prepare(self) -> None:
        super().prepare()
        self._postgres: PostgresServer | None = None
        self._database = f"sqlite:///{self.path / 'airflow.db'}"
        if binaries := postgres_binaries():
            # Not in this home, which the account of PostgreSQL cannot read.
            self._data = Path(tempfile.mkdtemp(prefix="segmind-postgres-"))
            self._postgres = PostgresServer(binaries, self._data, {})
            self._database = self._postgres.access.url

    def start_airflow(self) -> None:
        if self._postgres:
            self._postgres.start(self.environment())  # with our mark, so that it is stopped like everything else
        super().start_airflow()

    def stop(self) -> None:
        if hasattr(self, "api"):
            self.api.close()
        super().stop()
        if self._postgres:
            shutil.rmtree(self._data)

    def new_api(self) -> ChaosApi:
        return ChaosApi2(self._database, self._run_airflow)

    def wait_until_deferred(self, dag_id: str, run_id: str, *, seconds: float = 60) -> None:
        """Wait until the run is deferred; on SQLite until one task is, which resumes before the last one starts."""
        if self._postgres:
            super().wait_until_deferred(dag_id, run_id, seconds=seconds)
        else:
            self.wait("a task waits", lambda: self.api.count(dag_id, run_id, "deferred"), seconds=seconds)

    def _run_airflow(self, *arguments: str) -> None:
        done = subprocess.run(
            [AIRFLOW, *arguments], env=self.environment(), capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode:
            raise RuntimeError(f"airflow {' '.join(arguments)}:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}")

    def _airflow_settings(self) -> dict[str, str]:
        return super()._airflow_settings() | {
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor" if self._postgres else "SequentialExecutor",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self._database,
            "AIRFLOW__WEBSERVER__SECRET_KEY": self.secrets["api"],
            # The scheduler searches every ten seconds, Airflow's default, for tasks whose process was killed. With a
            # shorter interval a death is reported again before the first report is processed, and a try is lost.
            "AIRFLOW__SCHEDULER__ZOMBIE_DETECTION_INTERVAL": "10",
            "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "600",
            "AIRFLOW__SCHEDULER__PARSING_PROCESSES": "1",
            "AIRFLOW__TRIGGERER__DEFAULT_CAPACITY": "1000",
        }

    def task_errors(self) -> list[tuple[Path, str]]:
        """Return the logs of tasks that contain errors. They are plain text in Airflow 2."""
        logs = sorted((self.path / "logs").glob("dag_id=*/**/*.log"))
        found = [(path, path.read_text(errors="replace")) for path in logs]
        return [(path, self._redacted(reported[-3000:])) for path, reported in found if " ERROR - " in reported]


def _time(value: datetime | str) -> datetime:
    """Return a time from the database. SQLite returns it as text without a zone."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
