"""The task instance of a context: who it is, its request records, and what the other instances do."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.compat import connection_of, has_run_before, state_of, task_state_store, xcoms_of_all
from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.execution.environment import TaskEnvironment
from airflow_provider_segmind.execution.gateway import SystemClock
from airflow_provider_segmind.execution.instance import Instance
from airflow_provider_segmind.execution.store import TaskStateRecords
from airflow_provider_segmind.runtime.settings import serves_previews
from airflow_provider_segmind.storage.names import folded
from airflow_provider_segmind.storage.paths import object_path
from airflow_provider_segmind.storage.same_object import identity, is_same

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Context, ObjectStoragePath

    from airflow_provider_segmind.hooks.segmind import SegmindHook

#: States of a task instance that has not started (again), and of one whose process may be at work.
_NOT_STARTED = ("none", "scheduled", "queued")
_WORKING = ("running", "deferred", "up_for_reschedule", "up_for_retry", "scheduled", "queued", "restarting")


def environment_of(operator: BaseOperator, hook: SegmindHook, context: Context) -> TaskEnvironment:
    """Return what the work of a task needs from Airflow."""
    limit = operator.execution_timeout
    return TaskEnvironment(
        hook=hook,
        instance=instance_of(context),
        records=partial(records_of, context),
        claim=lambda path: claim_target(context, path),
        is_working=lambda owner: is_working(context, owner),
        push=lambda key, value: context["ti"].xcom_push(key=key, value=value) if operator.do_xcom_push else None,
        clock=SystemClock(),
        serves_previews=serves_previews(),
        execution_timeout=None if limit is None else limit.total_seconds(),
    )


def instance_of(context: Context) -> Instance:
    """Return the task instance of a task's context."""
    ti, run = context["ti"], context.get("dag_run")
    due = getattr(run, "run_after", None) or getattr(run, "data_interval_end", None)
    return Instance(
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        try_number=int(getattr(ti, "try_number", 1) or 1),
        ran_before=has_run_before(ti),
        began_at=None if due is None else due.timestamp(),
    )


def records_of(context: Context, *, durable: bool, batch: bool = False) -> TaskStateRecords:
    """Return the request records of a task instance; empty before Airflow 3.3, and if not ``durable``."""
    return TaskStateRecords(task_state_store(context) if durable else None, batch=batch)


def claim_target(context: Context, path: ObjectStoragePath) -> None:
    """
    Make sure that no two mapped instances of a task, in one run, write to the same target.

    Each pushes its claim, and then reads who else claims the target: an XCom whose key is made from the target, so
    reading is one call and finds only targets that are equal, or differ in case or Unicode form; of the latter, the
    store decides whether they are the same. The second one fails, before it submits; of two at the same moment both
    may. The claim stays for the run, so the order in which they finish does not matter. It is pushed with
    ``do_xcom_push=False``, too: it is not a result. Where the whole mapped task was cleared, the claim of an instance
    that has not started again does not count: it may get another target.

    :param context: of a mapped task.
    :param path: the target.
    :raises SegmindConfigError: another instance has claimed it.
    """
    ti = context["ti"]
    alike = "\n".join(map(folded, identity(path)))
    key = f"segmind_target_{hashlib.sha256(alike.encode()).hexdigest()[:16]}"
    ti.xcom_push(key=key, value={"map_index": ti.map_index, "uri": str(path)})
    claims = [claim for claim in xcoms_of_all(ti, key) if isinstance(claim, Mapping)]
    others = {claim["map_index"]: claim["uri"] for claim in claims if claim["map_index"] != ti.map_index}
    for other in sorted(others):
        if _has_started_again(ti, other) and is_same(path, object_path(others[other], connection_of(path))):
            # The other instance keeps its target, also when it is tried again. Airflow 3.0 accepts no None as an XCom.
            ti.xcom_push(key=key, value="")
            raise _claimed([other, ti.map_index], [others[other], str(path)])


def _claimed(indexes: Sequence[int | None], uris: Sequence[str]) -> SegmindConfigError:
    spelled = uris[0] if uris[0] == uris[1] else f"{uris[0]} and {uris[1]} are one object in this store"
    return SegmindConfigError(
        f"destination: the mapped tasks {indexes[0]} and {indexes[1]} have the same destination: {spelled}",
        next_step="Nothing was submitted. Add {stem} or {map_index} to the destination, or end it with / so that "
        "the task names the object.",
    )


def _has_started_again(ti: Any, map_index: int) -> bool:
    """Return whether a mapped instance has started since it was cleared, or was not cleared."""
    return state_of(ti, {**_ids(ti), "map_index": map_index}) not in _NOT_STARTED


def is_working(context: Context, owner: Mapping[str, Any]) -> bool | None:
    """
    Return whether a task instance may still work; None where Airflow does not report it.

    :param context: of the task that asks.
    :param owner: ``dag_id``, ``run_id``, ``task_id`` and ``map_index`` of the other one.
    """
    state = state_of(context["ti"], owner)
    return None if state is None else state in _WORKING


def _ids(ti: Any) -> dict[str, Any]:
    return {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id}
