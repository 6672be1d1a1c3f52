"""The engine of a task: made in the same way for a single request and for a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_provider_segmind.execution.engine import Engine
from airflow_provider_segmind.execution.gateway import SegmindModel
from airflow_provider_segmind.execution.want import Rules, Want

if TYPE_CHECKING:
    from airflow_provider_segmind.execution.environment import TaskEnvironment
    from airflow_provider_segmind.execution.options import SubmitOptions
    from airflow_provider_segmind.protocol.wire import Result


def engine_of(
    environment: TaskEnvironment,
    segmind: SegmindModel,
    submit: SubmitOptions,
    completed: Callable[[Want, Result], None],
    *,
    batch: bool = False,
) -> Engine:
    """
    Return the engine that works on the wants of a task instance.

    :param segmind: the model.
    :param submit: without ``durable`` an earlier try's requests are not searched for, either.
    :param completed: called once for each want whose result becomes known.
    :param batch: the wants are those of a batch.
    """
    instance = environment.instance
    rules = Rules(
        segmind.model,
        on_lost_submit=submit.on_lost_submit,
        lost_submit_wait=submit.lost_submit_wait,
        ran_before=submit.durable and instance.ran_before,
        owner=instance.owner,
        try_number=instance.try_number,
        began_at=instance.began_at,
    )
    records = environment.records(durable=submit.durable, batch=batch)
    return Engine(segmind, records, environment.clock, rules, completed=completed)
