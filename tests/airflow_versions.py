"""Internals of Airflow that the tests use, and that differ between its minor versions."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import logging
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from airflow import __version__

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.sdk import DAG
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)

#: Major and minor version, such as (3, 3).
AIRFLOW = tuple(int(part) for part in __version__.split(".")[:2])


def _needs(major: int, minor: int, what: str) -> pytest.MarkDecorator:
    missing = (major, minor) > AIRFLOW
    return pytest.mark.skipif(missing, reason=f"{what}: Airflow {major}.{minor} and later")


needs_airflow_sdk = _needs(3, 0, "airflow.sdk")
needs_tabs = _needs(3, 1, "tabs of plugins")
needs_events_since = _needs(3, 2, "asset events after a time")
needs_provider_commands = _needs(3, 2, "commands of providers")
needs_task_state_store = _needs(3, 3, "the task state store")
needs_todays_imports = _needs(3, 3, "the exact modules that Airflow itself imports")

#: In Airflow 3.0, dag.test() passes a sensor the time of its first try as text.
no_reschedule = pytest.mark.skipif(AIRFLOW == (3, 0), reason="Airflow 3.0's dag.test() reschedules no sensor twice")

#: In Airflow 3.0, dag.test() and ``clear`` resume a deferred task that failed, instead of a new try.
no_new_try = pytest.mark.skipif(
    AIRFLOW == (3, 0), reason="a deferred task that failed gets no new try in Airflow 3.0's dag.test()"
)

#: Where to import DagBag from.
DAG_BAGS = "airflow.dag_processing.dagbag" if AIRFLOW >= (3, 2) else "airflow.models.dagbag"

#: Airflow 3's bundle of the dags folder; the DAGs of the tests are registered under it.
_BUNDLE = "dags-folder"


def _found(path: str) -> Any:
    """Import a name at run time, because a type checker knows only one Airflow."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def set_up_logging() -> None:
    """
    Log from INFO on, as a worker does.

    The migrations of Airflow 2 replace the logging configuration. ``dag.test()`` of Airflow 3.0 logs its supervisor's
    debug messages, with the secrets that should be masked, and wraps tracebacks in boxes.
    """
    if AIRFLOW < (3, 0):
        _found("airflow.logging_config.configure_logging")()
        importlib.import_module(
            "airflow.providers.fab.auth_manager.models"
        )  # notes of runs refer to its table of users
    elif AIRFLOW < (3, 1):
        structlog = importlib.import_module("structlog")
        plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            processors=[*structlog.get_config()["processors"][:-1], plain],
        )


def keep_one_api() -> None:
    """Build the API server of Airflow 3's ``dag.test()`` once, not for each task: it takes seconds of CPU."""
    if AIRFLOW >= (3, 0):
        supervisor = importlib.import_module("airflow.sdk.execution_time.supervisor")
        supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)  # type: ignore[attr-defined]


def register(dag: DAG) -> None:
    """
    Write the DAG to the database, as the DAG processor does.

    ``dag.test()`` of Airflow 3 reads the DAG from there, and every Airflow reads the aliases of its assets from there.
    """
    if AIRFLOW < (3, 0):
        dag.fileloc = dag.fileloc or "test.py"
        _found("airflow.models.dag.DAG").bulk_write_to_db([dag])
        return
    lazy = _found("airflow.serialization.serialized_objects.LazyDeserializedDAG")
    if AIRFLOW >= (3, 1):
        written = lazy.from_dag(dag)
    else:
        dag.relative_fileloc = dag.relative_fileloc or "test.py"
        written = lazy(data=_found("airflow.serialization.serialized_objects.SerializedDAG").to_dict(dag))
    if AIRFLOW >= (3, 2):
        home = "airflow.serialization.definitions.dag.SerializedDAG"
    elif AIRFLOW >= (3, 1):
        home = "airflow.serialization.serialized_objects.SerializedDAG"
    else:
        home = "airflow.models.dag.DAG"
    _found("airflow.dag_processing.bundles.manager.DagBundlesManager")().sync_bundles_to_db()
    _found(home).bulk_write_to_db(_BUNDLE, None, [written])
    _found("airflow.models.serialized_dag.SerializedDagModel").write_dag(written, bundle_name=_BUNDLE)


def scheduled(dag: DAG) -> Any:
    """Return the DAG as the scheduler sees it."""
    if AIRFLOW < (3, 0):
        return dag
    name = "DagSerialization" if AIRFLOW >= (3, 2) else "SerializedDAG"
    serialization = _found(f"airflow.serialization.serialized_objects.{name}")
    return serialization.deserialize_dag(serialization.serialize_dag(dag))


def clear(dag: Any, dag_run: Any, task_ids: Collection[str], session: Session) -> int:
    """Clear tasks of a run, and return the number of cleared task instances."""
    from airflow.utils.state import DagRunState

    if AIRFLOW < (3, 0):
        which = {"start_date": dag_run.execution_date, "end_date": dag_run.execution_date}
    else:
        which = {"run_id": dag_run.run_id}
    return int(dag.clear(task_ids=list(task_ids), dag_run_state=DagRunState.RUNNING, session=session, **which))


def run_task(ti: TaskInstance, dag: DAG, session: Session) -> None:
    """Run a task instance as ``dag.test()`` does, its triggers inline."""
    from airflow.utils.state import TaskInstanceState

    task: Any = dag.task_dict[ti.task_id]
    if AIRFLOW >= (3, 1):
        _found("airflow.sdk.definitions.dag._run_task")(ti=ti, task=task, run_triggerer=True)
        return
    if AIRFLOW >= (3, 0):
        state: str | None = TaskInstanceState.SCHEDULED
        while (
            state == TaskInstanceState.SCHEDULED
        ):  # deferred, and its trigger has fired: run it again, like dag.test()
            ti.task = task
            _found("airflow.sdk.definitions.dag._run_task")(ti=ti, run_triggerer=True)
            state = ti.state
        return
    ti = session.merge(ti)
    ti.task = task
    try:
        _found("airflow.models.dag._run_task")(ti=ti, inline_trigger=True, session=session)
    except Exception:
        log.exception("Task failed; ti=%s", ti)


def xcom(dag_run: DagRun, task_id: str, map_index: int, key: str) -> Any:
    """Return what a task instance pushed under a key; None if it pushed nothing."""
    from airflow.utils.session import create_session

    query = {
        "run_id": dag_run.run_id,
        "key": key,
        "task_ids": task_id,
        "dag_ids": dag_run.dag_id,
        "map_indexes": map_index,
    }
    model = _found("airflow.models.xcom.XComModel" if AIRFLOW >= (3, 0) else "airflow.models.xcom.XCom")
    with create_session() as session:
        if AIRFLOW >= (3, 1):
            row = session.scalars(model.get_many(**query)).first()
        else:
            row = model.get_many(**query, session=session).first()
        if row is None or AIRFLOW < (3, 0):  # Airflow 2 deserializes the value itself
            return row and row.value
        return _found("airflow.sdk.bases.xcom.BaseXCom").deserialize_value(row)


def link(dag: DAG, dag_run: DagRun, task_id: str, map_index: int, name: str) -> Any:
    """Return the URL of a task instance's extra link, by the name of its class; None or "" if it has none."""
    if AIRFLOW >= (3, 0):
        return xcom(dag_run, task_id, map_index, f"_link_{name}")
    serialization = _found("airflow.serialization.serialized_objects.SerializedDAG")
    task = serialization.from_dict(serialization.to_dict(dag)).task_dict[task_id]  # as the web server reads it
    found = next(one for one in task.operator_extra_links if type(one).__name__ == name)
    return task.get_extra_links(dag_run.get_task_instance(task_id, map_index=map_index), found.name)


def asset_events(dag_id: str, run_id: str) -> list[tuple[str, int, list[str], dict[str, Any]]]:
    """Return the asset events of a run: URI, map index, aliases, extra (without the encoding of compat.event_extra)."""
    from airflow.utils.session import create_session
    from sqlalchemy import select

    name = "asset.AssetEvent" if AIRFLOW >= (3, 0) else "dataset.DatasetEvent"
    model = _found(f"airflow.models.{name}")
    found = []
    with create_session() as session:
        for event in session.scalars(select(model).where(model.source_dag_id == dag_id, model.source_run_id == run_id)):
            aliases = [alias.name for alias in event.source_aliases]
            extra = {key: value for key, value in event.extra.items() if key != "from_rest_api"}
            if aliases and AIRFLOW < (3, 1):
                extra |= {key: json.loads(extra[key]) for key in ("inputs", "parameters") if key in extra}
            asset = event.asset if AIRFLOW >= (3, 0) else event.dataset
            found.append((asset.uri, event.source_map_index, aliases, extra))
    return found


@contextlib.contextmanager
def lineage_collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield Airflow's own collector of hook lineage, as in a process with a lineage plugin."""
    from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

    if AIRFLOW >= (3, 2):
        plugins = importlib.import_module("airflow.sdk.plugins_manager")
        monkeypatch.setattr(plugins, "get_hook_lineage_readers_plugins", lambda: [object()])
        forget = _found("airflow.sdk.lineage.get_hook_lineage_collector").cache_clear
    else:
        plugins = importlib.import_module("airflow.plugins_manager")
        monkeypatch.setattr(plugins, "hook_lineage_reader_classes", [object])
        forget = functools.partial(
            setattr, importlib.import_module("airflow.lineage.hook"), "_hook_lineage_collector", None
        )
    forget()
    found = get_hook_lineage_collector()
    assert type(found).__name__ == "HookLineageCollector"
    yield found
    forget()


def start_metrics(factory: Any = None) -> None:
    """Read Airflow's metrics configuration again, as a new process does, or use this factory's client."""
    if AIRFLOW >= (3, 2):
        configured = _found("airflow.sdk.observability.metrics.stats_utils.get_stats_factory")
        stats = importlib.import_module("airflow.sdk.observability.stats")
        if AIRFLOW >= (3, 3):
            stats.initialize(factory=factory or configured(), export_legacy_names=True)
        else:
            stats.Stats.initialize(factory=factory or configured(stats.Stats))
        return
    stats = _found("airflow.stats.Stats")
    kind = type(stats)  # chooses a client, which the class keeps
    stats.instance = None
    del kind.factory
    if factory:
        kind.factory = staticmethod(factory)
    kind.__init__(stats)


def forget_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty the cache of ``ObjectStoragePath``, which keeps each store and its credentials for the process."""
    store = importlib.import_module("airflow.sdk.io.store" if AIRFLOW >= (3, 0) else "airflow.io.store")
    monkeypatch.setattr(store, "_STORE_CACHE", {})


def through_database(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Pass a trigger's arguments through Airflow: worker, API server (Airflow 3), database, triggerer."""
    from airflow.models.trigger import Trigger

    if AIRFLOW < (3, 0):
        return dict(Trigger._decrypt_kwargs(Trigger._encrypt_kwargs(kwargs)))
    new = AIRFLOW >= (3, 2)
    written = json.loads(json.dumps(_found("airflow.sdk.serde.serialize")(kwargs))) if new else kwargs
    decode = _found(f"airflow.serialization.{'decoders' if new else 'serialized_objects'}.smart_decode_trigger_kwargs")
    read = Trigger._decrypt_kwargs(Trigger.encrypt_kwargs(written))
    return {name: decode(value) for name, value in read.items()}


def dag_bag(folder: str) -> Any:
    """Parse a file or folder as the DAG processor does."""
    return _found(f"{DAG_BAGS}.DagBag")(folder)


def task_decorators() -> Any:
    """Return the decorators of the installed providers, by name."""
    if AIRFLOW >= (3, 2):
        return _found("airflow.sdk.providers_manager_runtime.ProvidersManagerTaskRuntime")().taskflow_decorators
    return _found("airflow.providers_manager.ProvidersManager")().taskflow_decorators
