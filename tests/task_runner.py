"""
Run a DAG with Airflow's task runner on an API server in memory: most of what ``dag.test()`` covers, in less time.

Airflow's code renders, runs, defers, resumes and retries the tasks. This module replaces the scheduler: the order of
tasks, the next try, the wait. ``tests.airflow_env.run_dag`` uses Airflow's scheduler, database and API server instead
(``tests/test_dag_test.py``). A DAG that needs more than this module implements is refused.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests import airflow_versions
from tests.airflow_env import Run, captured, run_dag
from tests.airflow_versions import AIRFLOW
from tests.memory_api import Instance, MemoryApi

if TYPE_CHECKING:
    from airflow.sdk import DAG


#: Maximum seconds between two tries in a test; Airflow's default is 300.
_LONGEST_PAUSE = 10.0


@dataclass(frozen=True)
class MemoryRun:
    """A finished run, with the interface of ``tests.airflow_env.Run``."""

    dag: DAG
    api: MemoryApi
    #: Everything that the tasks logged or printed.
    log: str

    @property
    def run_id(self) -> str:
        """The id of the DAG run."""
        return self.api.run_id

    @property
    def state(self) -> str:
        """``failed`` if any task failed, ``success`` otherwise."""
        ended = {instance.state for instance in self.api.instances}
        return "failed" if ended & {"failed", "upstream_failed"} else "success"

    def task(self, task_id: str, map_index: int = -1) -> Instance:
        """Return a task instance."""
        there = {(instance.task_id, instance.map_index): instance for instance in self.api.instances}
        if (task_id, map_index) not in there:
            raise LookupError(f"no task instance {task_id}[{map_index}], only {sorted(there)}")
        return there[task_id, map_index]

    def states(self) -> dict[str, list[str]]:
        """Return the states of all task instances by task id, in the order of the map index."""
        found: dict[str, list[str]] = {}
        for instance in sorted(self.api.instances, key=lambda one: (one.task_id, one.map_index)):
            found.setdefault(instance.task_id, []).append(str(instance.state))
        return found

    def xcom(self, task_id: str, map_index: int = -1, key: str = "return_value") -> Any:
        """Return what a task instance pushed under a key; None if it pushed nothing."""
        from airflow.sdk.serde import deserialize

        return deserialize(self.api.xcoms.get((task_id, key, map_index)))

    def link(self, task_id: str, name: str, map_index: int = -1) -> Any:
        """Return the URL of an extra link of a task instance, by the name of its class."""
        return self.xcom(task_id, map_index, f"_link_{name}")

    @property
    def deferrals(self) -> int:
        """The number of deferrals."""
        return self.log.count("running trigger in line")

    def again(self, *task_ids: str) -> MemoryRun:
        """Clear these tasks and run them again, as a user does in the same DAG run."""
        if not _instances_of(self.api, task_ids):
            raise LookupError(f"none of {sorted(task_ids)} is among {sorted(self.states())}")
        for instance in _instances_of(self.api, task_ids):
            instance.begin_again()
            instance.state, instance.first_try = None, instance.try_number
        return _finished(self.dag, self.api)


AnyRun = MemoryRun | Run


def run_tasks(dag: DAG, run_conf: dict[str, Any] | None = None, logical_date: datetime | None = None) -> AnyRun:
    """
    Run the tasks of a DAG in order, each after its upstream tasks have succeeded. It needs no database.

    Before Airflow 3.3 it calls ``run_dag``, which needs the fixture ``airflow_db``.

    :param dag: the DAG.
    :param run_conf: configuration of the run.
    :param logical_date: logical date of the run (default: now).
    """
    if AIRFLOW < (3, 3):
        return run_dag(dag, run_conf=run_conf, **({"logical_date": logical_date} if logical_date else {}))
    airflow_versions.scheduled(dag)  # raises if the DAG cannot be serialized
    date = logical_date or datetime.now(UTC)
    return _finished(dag, MemoryApi(dag.dag_id, f"manual__{date.isoformat()}", run_conf, date))


def _finished(dag: DAG, api: MemoryApi) -> MemoryRun:
    with captured() as log:
        for task in dag.topological_sort():
            for instance in _instances_of(api, [task.task_id]) or _expand(task, api):
                if instance.state is None:
                    _until_it_ends(task, api, instance)
    print(log.getvalue())  # pytest shows it if a test fails
    if api.refused:
        raise NotImplementedError(f"{api.refused}: use run_dag")
    return MemoryRun(dag, api, log.getvalue())


def _instances_of(api: MemoryApi, task_ids: Iterable[str]) -> list[Instance]:
    return [instance for instance in api.instances if instance.task_id in task_ids]


def _expand(task: Any, api: MemoryApi) -> list[Instance]:
    """Create the instances of a task: one for each combination of the values over which it is mapped."""
    indexes: Iterable[int] = [-1]
    if task.is_mapped:
        values = task._get_specified_expand_input().value
        of_each = values.values() if isinstance(values, dict) else [values]
        indexes = range(math.prod(_length(each, api) for each in of_each))
    made = [Instance(task.task_id, index, int(task.retries or 0)) for index in indexes]
    if not made or task.trigger_rule != "all_success" or task.get_closest_mapped_task_group():
        raise NotImplementedError(
            f"{task.task_id} has {len(made)} instances, the trigger rule {task.trigger_rule}, "
            f"the mapped group {task.get_closest_mapped_task_group()}: use run_dag"
        )
    api.instances += made
    return made


def _length(values: Any, api: MemoryApi) -> int:
    """Return the number of values, in the DAG file or in the result of a task."""
    if isinstance(values, list | dict):
        return len(values)
    if not hasattr(values, "operator"):
        raise NotImplementedError(f"mapped over {values}: use run_dag")
    pushed = api.values(values.operator.task_id, values.key)
    return len(pushed) if values.operator.is_mapped else len(pushed[0])


def _until_it_ends(task: Any, api: MemoryApi, instance: Instance) -> None:
    """Run a task instance, its triggers and its retries."""
    before = {one.state for one in _instances_of(api, task.upstream_task_ids)}
    if "skipped" in before:
        raise NotImplementedError(f"a task upstream of {task.task_id} was skipped: use run_dag")
    if before - {"success"}:
        instance.state = "upstream_failed"
        return
    while True:
        result = _run(task, api, instance)
        instance.state = str(result.state.value)
        if instance.state == "deferred":
            _trigger(api, instance)
        elif instance.state == "up_for_reschedule":
            _reschedule(instance, result.msg.reschedule_date)
        elif instance.state == "up_for_retry":
            instance.begin_again()
            _pause(task, getattr(result.msg, "retry_delay_seconds", None))
        else:
            return


def _pause(task: Any, seconds: float | None) -> None:
    seconds = task.retry_delay.total_seconds() if seconds is None else seconds
    if seconds > _LONGEST_PAUSE:
        raise ValueError(f"{task.task_id} is tried again after {seconds:g} s: give it retry_delay=timedelta(0)")
    time.sleep(seconds)


def _reschedule(instance: Instance, until: datetime) -> None:
    instance.reschedules += 1
    instance.first_rescheduled = instance.first_rescheduled or datetime.now(UTC).isoformat()
    time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()))


def _run(task: Any, api: MemoryApi, instance: Instance) -> Any:
    """Run a task in this process with Airflow's supervisor."""
    supervisor: Any = importlib.import_module("airflow.sdk.execution_time.supervisor")
    result = supervisor.run_task_in_process(_sdk_instance(api, instance), task, client=_client(api))
    instance.next_method = instance.next_kwargs = None
    return result


def _sdk_instance(api: MemoryApi, instance: Instance) -> Any:
    models: Any = importlib.import_module("airflow.sdk.api.datamodels._generated")
    return models.TaskInstance(
        id=instance.id,
        task_id=instance.task_id,
        dag_id=api.dag_id,
        run_id=api.run_id,
        try_number=instance.try_number,
        map_index=instance.map_index,
        dag_version_id=uuid4(),
    )


def _client(api: MemoryApi) -> Any:
    client: Any = importlib.import_module("airflow.sdk.api.client").Client
    return client(base_url=None, dry_run=True, token="", transport=api.transport)


def _trigger(api: MemoryApi, instance: Instance) -> None:
    """Run the trigger of a deferral until its first event, and prepare the task to resume, like ``dag.test()``."""
    import psutil  # type: ignore[import-untyped]
    import structlog
    from airflow.sdk.serde import deserialize, serialize
    from pydantic import TypeAdapter

    print("running trigger in line")
    sent = instance.deferral
    module, _, name = sent["classpath"].rpartition(".")
    arguments: Any = deserialize(sent["trigger_kwargs"])
    trigger = getattr(importlib.import_module(module), name)(**arguments)
    supervisor: Any = importlib.import_module("airflow.sdk.execution_time.supervisor")
    own = supervisor.InProcessTestSupervisor(
        id=instance.id,
        pid=os.getpid(),
        process=psutil.Process(),
        process_log=structlog.get_logger(logger_name="task").bind(),
        client=_client(api),
    )
    own.comms = supervisor.InProcessSupervisorComms(supervisor=own)
    limit: timedelta | None = TypeAdapter(timedelta | None).validate_python(sent.get("trigger_timeout"))
    with supervisor.set_supervisor_comms(own.comms):
        event = asyncio.run(_first_event(trigger, limit.total_seconds() if limit else None))
    kept: Any = deserialize(sent.get("next_kwargs")) or {}
    instance.next_method, instance.next_kwargs = sent["next_method"], serialize(kept | {"event": event.payload})


async def _first_event(trigger: Any, seconds: float | None) -> Any:
    return await asyncio.wait_for(anext(trigger.run()), seconds)
