"""check_credits: check the balance before a pipeline begins."""

from __future__ import annotations

from airflow_provider_segmind.execution.balance import balance_of
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.protocol.credits import least_of, too_low
from airflow_provider_segmind.runtime.failures import permanent_errors_fail


def check_credits(at_least: float, segmind_conn_id: str | None = SegmindHook.default_conn_name) -> float:
    """
    Return the balance (credits), or fail at once and permanently if it is too low, before anything is submitted.

    A plain function, to be a task (``task(check_credits)(at_least=10) >> upscale``) or a line in one. To wait for a
    top-up instead, use :class:`~airflow_provider_segmind.sensors.segmind.SegmindCreditsSensor`.

    :param at_least: the lowest balance in credits, paid and free ones together.
    :param segmind_conn_id: Airflow connection (default ``segmind_default``); None for the key in ``SEGMIND_API_KEY``.
    :raises AirflowFailException: the balance is too low, or cannot be read and a retry cannot succeed either.
    :raises SegmindError: it cannot be read now; a retry may succeed.
    """
    with permanent_errors_fail():
        least = least_of(at_least)
        with SegmindHook(segmind_conn_id) as hook:
            balance = balance_of(hook)
        if balance < least:
            raise too_low(balance, least)
        return balance
