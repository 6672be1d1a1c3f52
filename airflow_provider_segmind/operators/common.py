"""What operators and transfers need: checks of arguments, permanent errors, a name for a file."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException, conf, get_current_context, redact

from airflow_provider_segmind.compat import (
    HAS_RETRY_POLICIES,
    ChainRetryPolicy,
    has_run_before,
    state_of,
    task_state_store,
    xcoms_of_all,
)
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError
from airflow_provider_segmind.execution.instance import Instance
from airflow_provider_segmind.execution.store import TaskStateRecords
from airflow_provider_segmind.retry_policy import SegmindRetryPolicy

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

log = logging.getLogger(__name__)

#: The XCom under which the tab in Airflow's UI finds what a task failed with.
ERROR_KEY = "segmind_error"
#: Seconds between our own deadline and Airflow's timeout of a deferral.
_DEFERRAL_MARGIN = 120.0
#: States of a task instance that has not started (again), and of one whose process may be at work.
NOT_STARTED = ("none", "scheduled", "queued")
WORKING = ("running", "deferred", "up_for_reschedule", "up_for_retry", "scheduled", "queued", "restarting")


def is_final(value: Any) -> bool:
    """Tell whether an argument is a literal: no template, and nothing (an XComArg) that exists only at run time."""
    if isinstance(value, str):
        return not any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, Mapping):
        return all(is_final(item) for item in value.values())
    if isinstance(value, list | tuple | set):
        return all(is_final(item) for item in value)
    return value is None or isinstance(value, bool | int | float | bytes)


def check_numbers(
    *,
    positive: Mapping[str, float | None],
    not_negative: Mapping[str, float | None],
    whole: Collection[str] = (),
    optional: Collection[str] = (),
) -> None:
    """
    Raise SegmindConfigError for a number that is not finite, or not in its range.

    :param positive: numbers above 0.
    :param not_negative: numbers from 0 on.
    :param whole: names of those that count something.
    :param optional: names of those that may be None.
    """
    for name, value in {**positive, **not_negative}.items():
        if value is None and name in optional:
            continue
        kind = "a whole number" if name in whole else "a number"
        least = "above 0" if name in positive else "of 0 or more"
        right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if (
            not right
            or value is None
            or (name in whole and not isinstance(value, int))
            or (value <= 0 if name in positive else value < 0)
        ):
            raise SegmindConfigError(f"{name} must be {kind} {least}, not {value!r}")


def check_on_lost_submit(value: str) -> None:
    """Refuse what is no answer to a lost submit."""
    if value not in ("fail", "resubmit"):
        raise SegmindConfigError(f"on_lost_submit must be 'fail' or 'resubmit', not {value!r}")


def takes_our_retry_policy(kwargs: Mapping[str, Any]) -> bool:
    """Tell whether Airflow has retry policies and the author sets none, for the task or for all of the DAG's."""
    set_already = "retry_policy" in kwargs or "retry_policy" in (kwargs.get("default_args") or {})
    return HAS_RETRY_POLICIES and not set_already


def check_uris(**uris: Any) -> None:
    """Refuse a literal that is not a URI, before the DAG is even imported."""
    for name, value in uris.items():
        if value is not None and is_final(value) and not (isinstance(value, str) and "://" in value):
            raise SegmindConfigError(f"{name}: {value!r:.200} is not a URI such as s3://bucket/folder/")


def check_inline_output(parameters: Mapping[str, Any], *, goes_somewhere: bool) -> None:
    """Refuse a picture as base64 that would go through XCom: it is megabytes of text."""
    asked = parameters.get("base64")
    wanted = asked is True or (isinstance(asked, str) and asked.strip().lower() == "true")
    if wanted and not goes_somewhere:
        raise SegmindConfigError(
            "base64=True returns the picture as text, which does not fit through XCom: give a destination= "
            "to decode it into, or leave base64 out to get a URL"
        )


def show_error(error: SegmindError) -> None:
    """
    Leave an error where the tab in Airflow's UI finds it: an XCom; what a task raises stands in its logs only.

    The next try begins without it. Nothing is written with ``do_xcom_push=False``, or outside of a task.

    :param error: its words go into the XCom with known secrets blotted out, as in the logs.
    """
    try:
        ti = get_current_context()["ti"]
    except RuntimeError:
        return
    reported = error.to_dict()
    reported |= {"title": error.what, "message": reported.pop("detail")}
    try:
        if ti.task.do_xcom_push:
            ti.xcom_push(key=ERROR_KEY, value=redact(reported))
    except Exception:
        log.warning("The error could not be left for the tab in Airflow's UI", exc_info=True)


@contextmanager
def permanent_errors_fail(policy: Any = None) -> Iterator[None]:
    """
    Turn an error that a retry cannot mend into AirflowFailException, with the cause kept.

    Every error of ours that leaves a task comes through here, those that a trigger's event tells of, too: so it is
    left for the tab in Airflow's UI as well (:func:`show_error`).

    :param policy: the task's retry policy. One of ours decides itself, and Airflow does not ask a policy about
        AirflowFailException; another one knows nothing of what our errors mean.
    """
    try:
        yield
    except SegmindError as error:
        show_error(error)
        decides = isinstance(policy, SegmindRetryPolicy | ChainRetryPolicy)
        if error.retryable or decides:
            raise
        raise AirflowFailException(str(error)) from error


def serves_previews() -> bool:
    """Tell whether previews are written and served: ``[segmind] serve_previews``, off by default."""
    return bool(conf.getboolean("segmind", "serve_previews", fallback=False))


def not_before() -> float:
    """
    Return the first moment (epoch seconds) at which a task that defers now may be resumed.

    Airflow notices up to ``[workers] min_heartbeat_interval`` seconds late that a task has deferred, and a task that
    runs again by then is taken for killed (apache/airflow#71580, open in 3.3).
    """
    return time.time() + float(conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0)) + 1.0


def deferral_timeout(deadline: float) -> timedelta:
    """Return Airflow's timeout of a deferral: after our deadline (epoch seconds), which is the one to be reported."""
    return timedelta(seconds=max(0.0, deadline - time.time()) + _DEFERRAL_MARGIN)


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
    """Return the request records of a task instance; they hold nothing before Airflow 3.3, and if not ``durable``."""
    return TaskStateRecords(task_state_store(context) if durable else None, batch=batch)


def claim_target(context: Context, target: str) -> None:
    """
    See to it that no two mapped instances of a task, in one run, write to the same place.

    Each writes down which target is its own, and then looks who else did: an XCom whose key is made from the target,
    so looking costs one call and finds the same target only. Whoever comes second fails, before it submits; of two at
    the very same moment both may. The claim stays for the run, so the order in which they end does not matter. It is
    written whatever ``do_xcom_push`` says: it is no result. Where the whole mapped task was cleared, the claim of an
    instance that has not started again does not count: it may get another target.

    :param context: of a mapped task.
    :param target: what tells one place from another.
    :raises SegmindConfigError: another instance has claimed it.
    """
    ti = context["ti"]
    key = f"segmind_target_{hashlib.sha256(target.encode()).hexdigest()[:16]}"
    ti.xcom_push(key=key, value=ti.map_index)
    others = sorted(index for index in xcoms_of_all(ti, key) if isinstance(index, int) and index != ti.map_index)
    others = [index for index in others if _has_started_again(ti, index)]
    if others:
        # The other one keeps its target, also when it is tried again. No None: Airflow 3.0 takes none as an XCom.
        ti.xcom_push(key=key, value="")
        raise SegmindConfigError(
            f"the mapped tasks {others[0]} and {ti.map_index} have the same destination: {target}",
            next_step="Nothing was sent. Tell them apart with {stem} or {map_index} in the destination, or end it "
            "with / to have the task name the object.",
        )


def _has_started_again(ti: Any, map_index: int) -> bool:
    """Return whether a mapped instance has started since it was cleared, or was not cleared."""
    return state_of(ti, {**_named(ti), "map_index": map_index}) not in NOT_STARTED


def is_working(context: Context, owner: Mapping[str, Any]) -> bool | None:
    """
    Return whether a task instance may still work; None where Airflow does not say.

    :param context: of the task that asks.
    :param owner: ``dag_id``, ``run_id``, ``task_id`` and ``map_index`` of the other one.
    """
    state = state_of(context["ti"], owner)
    return None if state is None else state in WORKING


def _named(ti: Any) -> dict[str, Any]:
    return {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id}
