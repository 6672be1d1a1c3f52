"""The balance of a connection's account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.protocol.credits import has_no_balance

if TYPE_CHECKING:
    from airflow_provider_segmind.hooks.segmind import SegmindHook


def balance_of(hook: SegmindHook) -> float:
    """Return the balance in credits; 0 where the key works and has no balance record yet."""
    try:
        return hook.get_credits().total
    except SegmindError as error:
        if has_no_balance(error):
            return 0.0
        raise
