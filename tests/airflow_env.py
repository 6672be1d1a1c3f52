"""
One Airflow for the whole test session: its own home, its own database, nothing of the machine it runs on.

``prepare`` has to run before anything imports Airflow, which reads its configuration at import: ``conftest.py``
calls it first. The database is made only when a test asks for the fixture ``airflow_db``, so that tests of pure
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

#: What the machine says about these must not reach a test: configuration, connections, keys, ways out.
_FOREIGN_PREFIXES = ("AIRFLOW__", "AIRFLOW_", "_AIRFLOW", "AWS_", "SEGMIND_")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "ftp_proxy", "no_proxy"}

#: Variable with the folder for the homes of a test session.
_ALL = "HOMES_OF_THE_TESTS"

_SETTINGS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "AIRFLOW__CORE__FERNET_KEY": "",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",  # True reads a second configuration, and loads the examples
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
    "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "0",
    "AIRFLOW__SCHEDULER__CREATE_DELTA_DATA_INTERVALS": "True",
}


def prepare() -> Path:
    """Point Airflow to a temporary home, and return it."""
    if "airflow.configuration" in sys.modules or "airflow.sdk.configuration" in sys.modules:
        raise RuntimeError("Airflow is imported already, with the machine's own configuration")
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
        NO_PROXY="*",  # macOS and Windows know proxies that are in no variable
    )
    return home


def _folder_of_all() -> str:
    """
    Return the folder for the homes of all processes of a test session.

    The first process makes it and removes it in the end: it outlives a worker that is killed or interrupted.
    """
    if _ALL not in os.environ:
        os.environ[_ALL] = tempfile.mkdtemp(prefix="segmind-airflow-")
        atexit.register(shutil.rmtree, os.environ[_ALL], ignore_errors=True)
    return os.environ[_ALL]


def discard(home: Path) -> None:
    """Remove the home that ``prepare`` made."""
    shutil.rmtree(home, ignore_errors=True)


def make_database(home: Path) -> None:
    """Put a migrated database into the home that ``prepare`` made."""
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
        """The DAG run's id."""
        return str(self.dag_run.run_id)

    @property
    def state(self) -> str:
        """How the run ended: ``success`` or ``failed``."""
        return str(self.dag_run.state)

    def task(self, task_id: str, map_index: int = -1) -> TaskInstance:
        """One task instance, as the database knows it now."""
        found = self.dag_run.get_task_instance(task_id, map_index=map_index)
        if found is None:
            there = sorted((ti.task_id, ti.map_index) for ti in self.dag_run.get_task_instances())
            raise LookupError(f"no task instance {task_id}[{map_index}], only {there}")
        return found

    def states(self) -> dict[str, list[str]]:
        """The states of all task instances by task id, in the order of the map index."""
        found: dict[str, list[str]] = {}
        for ti in sorted(self.dag_run.get_task_instances(), key=lambda ti: (ti.task_id, ti.map_index)):
            found.setdefault(ti.task_id, []).append(str(ti.state))
        return found

    def xcom(self, task_id: str, map_index: int = -1, key: str = "return_value") -> Any:
        """What a task instance pushed under a key; None where it pushed nothing."""
        from tests import airflow_versions

        return airflow_versions.xcom(self.dag_run, task_id, map_index, key)

    def link(self, task_id: str, name: str, map_index: int = -1) -> Any:
        """Where an extra link of a task instance leads, by the name of its class."""
        from tests import airflow_versions

        return airflow_versions.link(self.dag, self.dag_run, task_id, map_index, name)

    @property
    def deferrals(self) -> int:
        """How often a task was deferred."""
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
    Run a DAG object with ``dag.test()``; it need not lie in any file. Needs the fixture ``airflow_db``.

    A task with ``retries`` is tried again after its ``retry_delay``, in real time: set that to zero.

    :param dag: the DAG; one of the same id is replaced.
    :param kwargs: arguments of ``dag.test()``, such as ``run_conf`` for the run's parameters.
    """
    from tests import airflow_versions

    with captured():
        airflow_versions.register(dag)
    with captured() as output:
        dag_run = dag.test(**kwargs)
    log = output.getvalue()
    print(log)  # pytest shows it where a test fails
    return Run(dag, dag_run, log)


def _clear_and_run(dag: DAG, run_id: str, task_ids: Collection[str]) -> DagRun:
    """
    Clear tasks of a finished run and run them: the loop of ``dag.test()``, without its fresh start.

    Given the date of an earlier run, ``dag.test()`` deletes that run with its XComs, so it cannot be used here.
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
        with create_session() as session:  # a session for each round: a task that runs here closes the one of before
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
                raise RuntimeError(f"run {run_id} does not go on: {run.get_task_instances(session=session)}")
        for ti in due:
            with create_session() as session:
                airflow_versions.run_task(ti, dag, session)


@contextmanager
def captured() -> Iterator[io.StringIO]:
    """
    Collect what is logged and printed.

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
