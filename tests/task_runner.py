"""
A DAG by Airflow's own task runner, on an API server of memory: most of what ``dag.test()`` shows, much quicker.

The tasks are rendered, run, deferred, resumed and tried again by Airflow's code. What is made here is what the
scheduler does in between: the order of tasks, the next try, the wait. ``tests.airflow_env.run_dag`` takes the DAG
through Airflow's scheduler, database and API server instead: once or twice for each kind of thing.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.airflow_env import Run, captured, run_dag
from tests.airflow_versions import AIRFLOW
from tests.api_of_memory import Instance, MemoryApi

if TYPE_CHECKING:
    from airflow.sdk import DAG


@dataclass(frozen=True)
class MemoryRun:
    """A finished run, read as a ``Run`` of ``tests.airflow_env`` is."""

    dag: DAG
    api: MemoryApi
    #: Everything that the tasks logged or printed.
    log: str

    @property
    def run_id(self) -> str:
        """The DAG run's id."""
        return self.api.run_id

    @property
    def state(self) -> str:
        """How the run ended: as its last tasks did."""
        ended = {instance.state for instance in self.api.instances.values()}
        return "failed" if ended & {"failed", "upstream_failed"} else "success"

    def task(self, task_id: str, map_index: int = -1) -> Instance:
        """One task instance."""
        return next(one for one in self.api.instances.values() if (one.task_id, one.map_index) == (task_id, map_index))

    def states(self) -> dict[str, list[str]]:
        """The states of all task instances by task id, in the order of the map index."""
        found: dict[str, list[str]] = {}
        for instance in sorted(self.api.instances.values(), key=lambda one: (one.task_id, one.map_index)):
            found.setdefault(instance.task_id, []).append(str(instance.state))
        return found

    def xcom(self, task_id: str, map_index: int = -1, key: str = "return_value") -> Any:
        """What a task instance pushed under a key; None where it pushed nothing."""
        from airflow.sdk.serde import deserialize

        return deserialize(self.api.xcoms.get((task_id, key, map_index)))

    def link(self, task_id: str, name: str, map_index: int = -1) -> Any:
        """Where an extra link of a task instance leads, by the name of its class."""
        return self.xcom(task_id, map_index, f"_link_{name}")

    @property
    def deferrals(self) -> int:
        """How often a task was deferred."""
        return self.log.count("running trigger in line")

    def again(self, *task_ids: str) -> MemoryRun:
        """Clear these tasks and run them again, as a user does in the same DAG run."""
        for instance in self.api.instances.values():
            if instance.task_id in task_ids:
                instance.state, instance.try_number = None, instance.try_number + 1
                instance.first_try = instance.try_number
        return _finished(self.dag, self.api)


AnyRun = MemoryRun | Run


def run_tasks(dag: DAG, run_conf: dict[str, Any] | None = None, logical_date: datetime | None = None) -> AnyRun:
    """
    Run a DAG's tasks one after the other; needs no database. Before Airflow 3.3 this is ``run_dag``.

    A task runs where all before it have succeeded, whatever its trigger rule.

    :param dag: the DAG.
    :param run_conf: what the run is started with.
    :param logical_date: of the run; now, if it is left out.
    """
    if AIRFLOW < (3, 3):
        return run_dag(dag, run_conf=run_conf, **({"logical_date": logical_date} if logical_date else {}))
    return _finished(dag, MemoryApi(dag.dag_id, f"manual__{uuid4()}", run_conf, logical_date or datetime.now(UTC)))


def _finished(dag: DAG, api: MemoryApi) -> MemoryRun:
    with captured() as log:
        for task in dag.topological_sort():
            for instance in _of(api, [task.task_id]) or _made(task, api):
                if instance.state is None:
                    _until_it_ends(dag, api, instance)
    print(log.getvalue())  # pytest shows it where a test fails
    return MemoryRun(dag, api, log.getvalue())


def _made(task: Any, api: MemoryApi) -> list[Instance]:
    """Make the instances of a task: one for each combination of the values over which it is mapped."""
    indexes: Iterable[int] = [-1]
    if task.is_mapped:
        values = task._get_specified_expand_input().value
        of_each = [values] if not isinstance(values, dict) else values.values()
        indexes = range(math.prod(_length(each, api) for each in of_each))
    made = [Instance(task.task_id, index, int(task.retries or 0)) for index in indexes]
    api.instances |= {instance.id: instance for instance in made}
    return made


def _length(values: Any, api: MemoryApi) -> int:
    """How many values there are, in the file or in what a task has returned."""
    if not hasattr(values, "operator"):
        return len(values)
    pushed = {index: value for (task, key, index), value in api.xcoms.items() if _is_of(values, task, key)}
    return len(pushed[-1]) if -1 in pushed else len(pushed)


def _is_of(argument: Any, task_id: str, key: str) -> bool:
    return (argument.operator.task_id, argument.key) == (task_id, key)


def _until_it_ends(dag: DAG, api: MemoryApi, instance: Instance) -> None:
    """Run a task instance, its triggers and its retries."""
    task: Any = dag.get_task(instance.task_id)
    if not all(one.state == "success" for one in _of(api, task.upstream_task_ids)):
        instance.state = "upstream_failed"
        return
    while True:
        result = _run(task, api, instance)
        instance.state = str(result.state.value)
        if instance.state == "deferred":
            _trigger(result.msg, api, instance)
        elif instance.state == "up_for_reschedule":
            instance.reschedules += 1
            instance.first_rescheduled = instance.first_rescheduled or datetime.now(UTC).isoformat()
            time.sleep(max(0.0, (result.msg.reschedule_date - datetime.now(UTC)).total_seconds()))
        elif instance.state == "up_for_retry":
            _next_try(instance)
            delay = getattr(result.msg, "retry_delay_seconds", None)
            time.sleep(task.retry_delay.total_seconds() if delay is None else delay)
        else:
            return


def _next_try(instance: Instance) -> None:
    instance.try_number += 1
    instance.next_method = instance.next_kwargs = instance.first_rescheduled = None
    instance.reschedules = 0


def _of(api: MemoryApi, task_ids: Iterable[str]) -> list[Instance]:
    return [one for one in api.instances.values() if one.task_id in task_ids]


def _run(task: Any, api: MemoryApi, instance: Instance) -> Any:
    """Let Airflow's supervisor run a task in this process."""
    supervisor: Any = importlib.import_module("airflow.sdk.execution_time.supervisor")
    result = supervisor.run_task_in_process(_named(api, instance), task, client=_client(api))
    instance.next_method = instance.next_kwargs = None
    return result


def _named(api: MemoryApi, instance: Instance) -> Any:
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


def _trigger(deferral: Any, api: MemoryApi, instance: Instance) -> None:
    """Run a trigger to its first event, made from what the database would hold of it."""
    import psutil  # type: ignore[import-untyped]
    import structlog
    from airflow.sdk.serde import deserialize, serialize

    print("running trigger in line")
    module, _, name = deferral.classpath.rpartition(".")
    arguments: Any = deserialize(deferral.trigger_kwargs)
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
    with supervisor.set_supervisor_comms(own.comms):
        event = asyncio.run(_first(trigger))
    instance.next_method = deferral.next_method
    instance.next_kwargs = {"event": serialize(event.payload)} if event else deferral.next_kwargs


async def _first(trigger: Any) -> Any:
    return await anext(trigger.run(), None)
