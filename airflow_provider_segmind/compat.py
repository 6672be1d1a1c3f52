"""
Differences between Airflow 2.11 and 3.3 that ``common.compat.sdk`` does not cover.

A feature that an Airflow lacks is not replaced; the log mentions it where it matters:

=======================  =====  ============================================================================
feature                  since  before
=======================  =====  ============================================================================
task state store         3.3    a retry searches for its request in Segmind's request history
retry policies           3.3    permanent errors fail a task at once; ``retries`` apply to all others
``on_kill`` of triggers  3.3    no log line names the running request when a user stops a deferred task
XComs from a trigger     3.3    with ``end_from_trigger`` a worker still returns the result
tabs in the UI           3.1    the link "Before and after" is empty; before 3.0 also the link to the page
links of a worker        3.0    links to the output appear when the task has ended, not before
nested ``extra``         3.1    lists and mappings in the ``extra`` of an alias event are JSON text
=======================  =====  ============================================================================
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat import sdk

from airflow_provider_segmind.airflow_version import AIRFLOW

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context, ObjectStoragePath, TaskInstanceKey

log = logging.getLogger(__name__)

HAS_RETRY_POLICIES = hasattr(sdk, "RetryPolicy")

if TYPE_CHECKING or HAS_RETRY_POLICIES:
    from airflow.providers.common.compat.sdk import ChainRetryPolicy, RetryDecision, RetryPolicy
else:
    # A policy can be created, so that one DAG file works on every Airflow; Airflow does not call it.
    class RetryPolicy:
        """Stand-in for the retry policy of Airflow 3.3."""

    class ChainRetryPolicy(RetryPolicy):
        """Stand-in for the chain of retry policies of Airflow 3.3."""

    class RetryDecision:
        """Stand-in for the decision of a retry policy of Airflow 3.3."""


__all__ = [
    "HAS_RETRY_POLICIES",
    "ChainRetryPolicy",
    "RetryDecision",
    "RetryPolicy",
    "aset_xcom",
    "attach_filesystem",
    "connection_of",
    "event_extra",
    "has_run_before",
    "hook_lineage_is_read",
    "known_arguments",
    "retry_policy_of",
    "returned_on_airflow_2",
    "state_of",
    "task_state_store",
    "xcoms_of_all",
]


def known_arguments(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return an operator's other arguments without a ``retry_policy`` that Airflow does not support, and log that."""
    if HAS_RETRY_POLICIES or "retry_policy" not in kwargs:
        return kwargs
    if kwargs["retry_policy"] is not None:
        log.warning("retry_policy of task %s is ignored: it needs Airflow 3.3", kwargs.get("task_id"))
    return {name: value for name, value in kwargs.items() if name != "retry_policy"}


def retry_policy_of(operator: BaseOperator) -> Any:
    """Return the retry policy of a task; None if it has none, or before Airflow 3.3."""
    return getattr(operator, "retry_policy", None)


def task_state_store(context: Context) -> Any:
    """Return the task instance's state store; None before Airflow 3.3."""
    return context.get("task_state_store")


def has_run_before(ti: Any) -> bool:
    """
    Return whether an earlier process of a task instance may have submitted.

    The try number is not enough. If Airflow considers a deferred task killed although it is about to be resumed, it may
    start the retry with the arguments of the resumption, as the first try (seen on 3.2.2). Then the XComs of the
    earlier process are evidence: those that Airflow clears before it starts a task again.

    :param ti: the task instance, from the task's context.
    """
    started_with = getattr(ti, "_ti_context_from_server", None)
    return int(getattr(ti, "try_number", 1) or 1) > 1 or bool(getattr(started_with, "xcom_keys_to_clear", None))


def state_of(ti: Any, other: Mapping[str, Any]) -> str | None:
    """
    Return the state of a task instance, ``none`` if it has not started; None if Airflow does not report a state.

    :param ti: the task instance that asks.
    :param other: ``dag_id``, ``run_id``, ``task_id`` and ``map_index`` of the other one.
    """
    dag_id, run_id, task_id, map_index = (other.get(name) for name in ("dag_id", "run_id", "task_id", "map_index"))
    try:
        if hasattr(ti, "get_task_states"):
            found = ti.get_task_states(dag_id=dag_id, map_index=map_index, task_ids=[task_id], run_ids=[run_id])
            states = found.get(run_id) or {}
            if not states:
                return None
            return str(next(iter(states.values())) or "none")
        return _state_on_airflow_2(dag_id, run_id, task_id, map_index)
    except Exception as error:  # noqa: BLE001  on any error the state is unknown, not "ended"
        log.warning("Airflow does not report the state of %s: %r", other, error)
        return None


def _state_on_airflow_2(dag_id: Any, run_id: Any, task_id: Any, map_index: Any) -> str | None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        where = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
        found = session.query(TaskInstance.state).filter_by(**where).one_or_none()
        return None if found is None else str(found[0] or "none")


def xcoms_of_all(ti: Any, key: str) -> list[Any]:
    """
    Return what the instances of a mapped task have pushed under a key, in this run.

    :param ti: one of them, from the task's context.
    """
    from airflow.providers.common.compat.sdk import XCom

    if hasattr(XCom, "get_all"):
        return list(XCom.get_all(run_id=ti.run_id, key=key, task_id=ti.task_id, dag_id=ti.dag_id) or ())
    return list(
        ti.xcom_pull(task_ids=ti.task_id, key=key) or ()
    )  # Airflow 2 returns those of all instances of a mapped task


async def aset_xcom(ti: Any, key: str, value: Any) -> None:
    """
    Push a task's XCom from a trigger.

    :raises NotImplementedError: before Airflow 3.3.
    """
    from airflow.providers.common.compat.sdk import XCom

    if not hasattr(XCom, "aset"):
        raise NotImplementedError("a trigger cannot push an XCom before Airflow 3.3")
    where: Mapping[str, Any] = {name: getattr(ti, name) for name in ("dag_id", "task_id", "run_id", "map_index")}
    await XCom.aset(key=key, value=value, **where)


def attach_filesystem(scheme: str, filesystem: Any) -> None:
    """Make ``ObjectStoragePath`` use a filesystem for a scheme."""
    try:
        from airflow.sdk.io import attach
    except ImportError:
        from airflow.io.store import attach  # type: ignore[import-not-found,no-redef]  # Airflow 2

    attach(scheme, fs=filesystem)


def hook_lineage_is_read() -> bool:
    """Return whether a plugin reads hook lineage."""
    try:
        from airflow.sdk.plugins_manager import get_hook_lineage_readers_plugins
    except ImportError:  # before Airflow 3.2
        plugins_manager: Any = importlib.import_module("airflow.plugins_manager")
        plugins_manager.initialize_hook_lineage_readers_plugins()
        return bool(plugins_manager.hook_lineage_reader_classes)
    return bool(get_hook_lineage_readers_plugins())


def connection_of(path: ObjectStoragePath) -> str | None:
    """Return the connection id of a path, from its argument or its URI; None if it has none."""
    if hasattr(path, "conn_id"):
        return path.conn_id
    found: str | None = path.storage_options.get("conn_id")  # before Airflow 3.2
    return found


def event_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the ``extra`` of an asset alias event in a form that Airflow accepts.

    Before 3.1 Airflow puts the values into a set when the task has succeeded; one that is not hashable fails it.
    """
    if AIRFLOW >= (3, 1):
        return dict(extra)
    return {name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in extra.items()}


def returned_on_airflow_2(ti_key: TaskInstanceKey) -> Mapping[str, Any]:
    """
    Return the result of a task when the web server of Airflow 2 asks for its links.

    There the operator has only the arguments in the DAG file. Airflow 3 asks in the task's process: returns {}.
    """
    if AIRFLOW >= (3, 0):
        return {}
    from airflow.models.xcom import XCom

    value = XCom.get_value(ti_key=ti_key, key="return_value")
    return value if isinstance(value, Mapping) else {}
