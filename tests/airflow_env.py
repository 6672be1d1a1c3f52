"""
One Airflow for the test session, with its own home and database, independent of the machine's settings.

``prepare`` must run before Airflow is imported, because Airflow reads its configuration at import: ``conftest.py``
calls it first. The database is created only when a test requests the fixture ``airflow_db``, so that tests of pure
functions start at once.
"""

from __future__ import annotations

import atexit
import io
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests import templates

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.sdk import DAG

#: Variables of the machine with these prefixes must not reach a test: configuration, connections, keys, proxies.
_FOREIGN_PREFIXES = ("AIRFLOW__", "AIRFLOW_", "_AIRFLOW", "AWS_", "SEGMIND_")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "no_proxy"}

#: Variable with the folder for the homes of a test session.
_ALL = "HOMES_OF_THE_TESTS"

_SETTINGS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "AIRFLOW__CORE__FERNET_KEY": "",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",  # True reads a second configuration and loads the examples
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
    "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "0",
    "AIRFLOW__SCHEDULER__CREATE_DELTA_DATA_INTERVALS": "True",
}


def prepare() -> Path:
    """Set a temporary home for Airflow, and return it."""
    if "airflow.configuration" in sys.modules or "airflow.sdk.configuration" in sys.modules:
        raise RuntimeError("Airflow is already imported, with the machine's configuration: call prepare() first")
    for name in list(os.environ):
        if name.startswith(_FOREIGN_PREFIXES) or name.lower() in _PROXIES:
            del os.environ[name]
    home = Path(tempfile.mkdtemp(dir=_folder_of_all()))
    dags = home / "dags"
    dags.mkdir()
    os.environ.update(
        _SETTINGS,
        AIRFLOW_HOME=str(home),
        AIRFLOW__CORE__DAGS_FOLDER=str(dags),
        AIRFLOW__CORE__PLUGINS_FOLDER=str(home / "plugins"),
        AIRFLOW__LOGGING__BASE_LOG_FOLDER=str(home / "logs"),
        AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{home / 'airflow.db'}",
        NO_PROXY="*",  # macOS and Windows also have proxies outside of variables
    )
    return home


def _folder_of_all() -> str:
    """
    Return the folder for the homes of all processes of a test session.

    The first process creates it and removes it at the end, so that it outlives a worker that is killed.
    """
    if _ALL not in os.environ:
        os.environ[_ALL] = tempfile.mkdtemp(prefix="segmind-airflow-")
        atexit.register(shutil.rmtree, os.environ[_ALL], ignore_errors=True)
    return os.environ[_ALL]


def discard(home: Path) -> None:
    """Remove the home that ``prepare`` created."""
    shutil.rmtree(home, ignore_errors=True)


def make_database(home: Path) -> None:
    """Copy a migrated database into the home that ``prepare`` created."""
    from tests import airflow_versions

    templates.copy_database(home)
    airflow_versions.set_up_logging()
    airflow_versions.keep_one_api()


@dataclass(frozen=True)
class Run:
    """A finished run of a DAG."""

    dag: DAG
    dag_run: DagRun
    #: Everything that Airflow and the tasks logged or printed during the run.
    log: str

    @property
    def run_id(self) -> str:
        """The id of the DAG run."""
        return str(self.dag_run.run_id)

    @property
    def state(self) -> str:
        """The final state of the run: ``success`` or ``failed``."""
        return str(self.dag_run.state)

    def task(self, task_id: str, map_index: int = -1) -> TaskInstance:
        """Return a task instance in its current state in the database."""
        found = self.dag_run.get_task_instance(task_id, map_index=map_index)
        if found is None:
            there = sorted((ti.task_id, ti.map_index) for ti in self.dag_run.get_task_instances())
            raise LookupError(f"no task instance {task_id}[{map_index}], only {there}")
        return found

    def states(self) -> dict[str, list[str]]:
        """Return the states of all task instances by task id, in the order of the map index."""
        found: dict[str, list[str]] = {}
        for ti in sorted(self.dag_run.get_task_instances(), key=lambda ti: (ti.task_id, ti.map_index)):
            found.setdefault(ti.task_id, []).append(str(ti.state))
        return found

    def xcom(self, task_id: str, map_index: int = -1, key: str = "return_value") -> Any:
        """Return what a task instance pushed under a key; None if it pushed nothing."""
        from tests import airflow_versions

        return airflow_versions.xcom(self.dag_run, task_id, map_index, key)

    def link(self, task_id: str, name: str, map_index: int = -1) -> Any:
        """Return the URL of an extra link of a task instance, by the name of its class."""
        from tests import airflow_versions

        return airflow_versions.link(self.dag, self.dag_run, task_id, map_index, name)

    @property
    def deferrals(self) -> int:
        """The number of deferrals."""
        return self.log.count("running trigger in line")

    def again(self, *task_ids: str) -> Run:
        """Clear these tasks (all their map indexes) and run them again, as a user does in the same DAG run."""
        with captured() as output:
            dag_run = _clear_and_run(self.dag, self.dag_run.run_id, task_ids)
        log = output.getvalue()
        print(log)
        return Run(self.dag, dag_run, log)


def run_dag(dag: DAG, **kwargs: Any) -> Run:
    """
    Run a DAG object, which does not have to be in a file, with ``dag.test()``. Needs the fixture ``airflow_db``.

    A task with ``retries`` is tried again after its ``retry_delay`` in real time: set the delay to zero.

    :param dag: the DAG. It replaces a DAG with the same id.
    :param kwargs: arguments of ``dag.test()``, such as ``run_conf`` for the parameters of the run.
    """
    from tests import airflow_versions

    with captured():
        airflow_versions.register(dag)
    with captured() as output:
        dag_run = dag.test(**kwargs)
    log = output.getvalue()
    print(log)  # pytest shows it if a test fails
    return Run(dag, dag_run, log)


def _clear_and_run(dag: DAG, run_id: str, task_ids: Collection[str]) -> DagRun:
    """
    Clear tasks of a finished run and run them: the loop of ``dag.test()``, but in the same run.

    ``dag.test()`` itself deletes an earlier run of the same date with its XComs, so it cannot be used here.
    """
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, TaskInstanceState
    from sqlalchemy import select

    from tests import airflow_versions

    scheduled = airflow_versions.scheduled(dag)
    found = select(DagRun).where(DagRun.dag_id == dag.dag_id, DagRun.run_id == run_id)
    with create_session() as session:
        if not airflow_versions.clear(scheduled, session.scalars(found).one(), task_ids, session):
            raise LookupError(f"none of {sorted(task_ids)} is in run {run_id}")
    while True:
        with (
            create_session() as session
        ):  # a session for each round, because a task that runs here closes the previous one
            run = session.scalars(found).one()
            run.dag = scheduled
            due, _ = run.update_state(session=session)
            for ti in due:
                ti.try_number += 1
                ti.state = TaskInstanceState.SCHEDULED
            session.commit()
            session.refresh(run)
            if run.state != DagRunState.RUNNING:
                session.expunge(run)
                return run
            if not due:
                raise RuntimeError(f"run {run_id} makes no progress: {run.get_task_instances(session=session)}")
        for ti in due:
            with create_session() as session:
                airflow_versions.run_task(ti, dag, session)


@contextmanager
def captured() -> Iterator[io.StringIO]:
    """
    Collect everything that is logged and printed.

    Airflow's structlog loggers write to ``sys.stdout`` of the moment; its stdlib handler keeps the stream of the
    moment at which Airflow was imported, which pytest may have closed since: hence ``sys.__stdout__`` afterwards.
    """
    buffer = io.StringIO()
    handlers = [h for h in logging.getLogger().handlers if type(h) is logging.StreamHandler]
    for handler in handlers:
        handler.setStream(buffer)
    try:
        with redirect_stdout(buffer):
            yield buffer
    finally:
        for handler in handlers:
            handler.setStream(sys.__stdout__)
