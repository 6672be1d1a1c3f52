"""The engine of a task: made of its arguments in the same way for a single request and for a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from airflow_provider_segmind.execution.engine import Engine
from airflow_provider_segmind.execution.gateway import SegmindModel, SystemClock
from airflow_provider_segmind.execution.want import Rules, Want
from airflow_provider_segmind.operators.common import instance_of, records_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_segmind.protocol.wire import Result


def engine_of(
    context: Context,
    segmind: SegmindModel,
    *,
    durable: bool,
    on_lost_submit: Literal["fail", "resubmit"],
    lost_submit_wait: float,
    completed: Callable[[Want, Result], None],
    batch: bool = False,
) -> Engine:
    """
    Return the engine that works on the wants of a task instance.

    :param segmind: the model.
    :param durable: remember requests between tries. Without that an earlier try's are not searched for, either.
    :param on_lost_submit: what to do with a submit whose outcome cannot be found out.
    :param lost_submit_wait: seconds for which it is searched for.
    :param completed: called once for each want whose result becomes known.
    :param batch: the wants are those of a batch.
    """
    instance = instance_of(context)
    rules = Rules(
        segmind.model,
        on_lost_submit=on_lost_submit,
        lost_submit_wait=lost_submit_wait,
        ran_before=durable and instance.ran_before,
        owner=instance.owner,
        try_number=instance.try_number,
        began_at=instance.began_at,
    )
    records = records_of(context, durable=durable, batch=batch)
    return Engine(segmind, records, SystemClock(), rules, completed=completed)
