"""check_credits: assert a balance before a pipeline begins."""

from __future__ import annotations

from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.operators.common import permanent_errors_fail
from airflow_provider_segmind.protocol.credits import has_no_balance, least_of, too_low


def check_credits(at_least: float, segmind_conn_id: str | None = SegmindHook.default_conn_name) -> float:
    """
    Return the balance (credits), or fail where it is too low: at once and for good, before anything is submitted.

    A plain function, to be a task (``task(check_credits)(at_least=10) >> upscale``) or a line in one. To wait for a
    top-up instead, use :class:`~airflow_provider_segmind.sensors.segmind.SegmindCreditsSensor`.

    :param at_least: the least balance in credits, paid and free ones together.
    :param segmind_conn_id: Airflow connection; None for the key in ``SEGMIND_API_KEY``.
    :raises AirflowFailException: the balance is too low, or cannot be read and a retry cannot mend that.
    :raises SegmindError: it cannot be read now; a retry may.
    """
    with permanent_errors_fail():
        least = least_of(at_least)
        with SegmindHook(segmind_conn_id) as hook:
            balance = balance_of(hook)
        if balance < least:
            raise too_low(balance, least)
        return balance


def balance_of(hook: SegmindHook) -> float:
    """Return the balance in credits; 0 where the key works and has no balance record yet."""
    try:
        return hook.get_credits().total
    except SegmindError as error:
        if has_no_balance(error):
            return 0.0
        raise
