"""
What Airflow 2.11 to 3.3 do in different ways and ``common.compat.sdk`` does not level: in this one place.

What an Airflow lacks is not made up for. Its users do without, and the log says so where it matters:

=======================  =====  ============================================================================
what                     since  before
=======================  =====  ============================================================================
task state store         3.3    a retry looks for its request in Segmind's request history
retry policies           3.3    permanent errors fail a task at once, all others are left to its ``retries``
``on_kill`` of triggers  3.3    nothing says what a user leaves behind who takes a waiting task off its request
XComs from a trigger     3.3    with ``end_from_trigger`` a worker hands over the result all the same
tabs in the UI           3.1    the link "Before and after" is empty; before 3.0 that to the page is, too
links of a worker        3.0    those of the output are there when the task has ended, not before
nested ``extra``         3.1    lists and mappings in the ``extra`` of an alias' event are JSON text
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
    # A policy can be made, so that one DAG file serves every Airflow; nobody asks it for a decision.
    class RetryPolicy:
        """Stands where Airflow 3.3 has its retry policies."""

    class ChainRetryPolicy(RetryPolicy):
        """Stands where Airflow 3.3 has its chain of policies."""

    class RetryDecision:
        """Stands where Airflow 3.3 has the decision of a policy."""


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
    """Return an operator's further arguments without ``retry_policy`` where Airflow knows none, and say so."""
    if HAS_RETRY_POLICIES or "retry_policy" not in kwargs:
        return kwargs
    if kwargs["retry_policy"] is not None:
        log.warning("retry_policy of %s has no effect: Airflow has retry policies from 3.3 on", kwargs.get("task_id"))
    return {name: value for name, value in kwargs.items() if name != "retry_policy"}


def retry_policy_of(operator: BaseOperator) -> Any:
    """Return the retry policy that decides about a task; None where there is none, or Airflow knows none."""
    return getattr(operator, "retry_policy", None)


def task_state_store(context: Context) -> Any:
    """Return the task instance's state store; None before Airflow 3.3."""
    return context.get("task_state_store")


def has_run_before(ti: Any) -> bool:
    """
    Tell whether an earlier process of a task instance may have submitted.

    The number of the try is not enough. Where a deferred task is taken for killed although it is about to be resumed,
    Airflow may start the retry with what was meant for the resumption, as the first try (seen on 3.2.2). What an
    earlier process has pushed tells then: the XComs that Airflow clears before a task starts anew.

    :param ti: the task instance, from the task's context.
    """
    started_with = getattr(ti, "_ti_context_from_server", None)
    return int(getattr(ti, "try_number", 1) or 1) > 1 or bool(getattr(started_with, "xcom_keys_to_clear", None))


def state_of(ti: Any, other: Mapping[str, Any]) -> str | None:
    """
    Return the state of a task instance, ``none`` for one that has none yet; None where Airflow does not say.

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
    except Exception as error:  # noqa: BLE001  whatever a server answers: not known is not "ended"
        log.warning("Airflow does not tell the state of %s: %r", other, error)
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
    return list(ti.xcom_pull(task_ids=ti.task_id, key=key) or ())  # Airflow 2: of all instances, for a mapped task


async def aset_xcom(ti: Any, key: str, value: Any) -> None:
    """
    Push a task's XCom from a trigger.

    :raises NotImplementedError: before Airflow 3.3.
    """
    from airflow.providers.common.compat.sdk import XCom

    if not hasattr(XCom, "aset"):
        raise NotImplementedError("Airflow lets a trigger push an XCom from 3.3 on")
    where: Mapping[str, Any] = {name: getattr(ti, name) for name in ("dag_id", "task_id", "run_id", "map_index")}
    await XCom.aset(key=key, value=value, **where)


def attach_filesystem(scheme: str, filesystem: Any) -> None:
    """Let ``ObjectStoragePath`` use a filesystem for a scheme."""
    try:
        from airflow.sdk.io import attach
    except ImportError:
        from airflow.io.store import attach  # type: ignore[import-not-found,no-redef]  # Airflow 2

    attach(scheme, fs=filesystem)


def hook_lineage_is_read() -> bool:
    """Tell whether a plugin reads hook lineage."""
    try:
        from airflow.sdk.plugins_manager import get_hook_lineage_readers_plugins
    except ImportError:  # before Airflow 3.2
        plugins_manager: Any = importlib.import_module("airflow.plugins_manager")
        plugins_manager.initialize_hook_lineage_readers_plugins()
        return bool(plugins_manager.hook_lineage_reader_classes)
    return bool(get_hook_lineage_readers_plugins())


def connection_of(path: ObjectStoragePath) -> str | None:
    """Return the id of a path's connection, given apart or in its URI; None where it has none."""
    if hasattr(path, "conn_id"):
        return path.conn_id
    found: str | None = path.storage_options.get("conn_id")  # before Airflow 3.2
    return found


def event_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return what the event of an asset alias may carry.

    Before 3.1 Airflow puts the values into a set, when the task has succeeded: one that cannot be hashed fails it then.
    """
    if AIRFLOW >= (3, 1):
        return dict(extra)
    return {name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in extra.items()}


def returned_on_airflow_2(ti_key: TaskInstanceKey) -> Mapping[str, Any]:
    """
    Return what a task has returned, where the web server of Airflow 2 asks for its links.

    It has the operator as the DAG file made it. Airflow 3 asks in the task's own process: empty there.
    """
    if AIRFLOW >= (3, 0):
        return {}
    from airflow.models.xcom import XCom

    value = XCom.get_value(ti_key=ti_key, key="return_value")
    return value if isinstance(value, Mapping) else {}
