"""Balances: what a key without a balance record is told, and the event of a trigger that waits for a top-up."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from airflow_provider_segmind.exceptions import (
    SegmindConfigError,
    SegmindError,
    SegmindEventError,
    SegmindInsufficientCreditsError,
    SegmindResponseError,
)
from airflow_provider_segmind.protocol.responses import number


def has_no_balance(error: SegmindError) -> bool:
    """Tell a key that works but has no balance record yet: it is answered 404 "No credits found for the user"."""
    return isinstance(error, SegmindResponseError) and error.status == 404 and "credits" in error.detail.lower()


def least_of(at_least: Any) -> float:
    """Return the balance that is asked for (credits); raise SegmindConfigError for what is no such number."""
    least = number(at_least)
    if least is None or least < 0:
        raise SegmindConfigError(f"at_least must be a number of credits, 0 or more, not {at_least!r:.100}")
    return least


def too_low(balance: float | None, least: float, *, waited: float | None = None) -> SegmindInsufficientCreditsError:
    """Return the error for a balance (credits; None where it is not known) that is too low, waited for or not."""
    reported = "the balance is not known" if balance is None else f"the balance is {balance:g} credits"
    after = "" if waited is None else f" after {waited:g} s"
    return SegmindInsufficientCreditsError(
        f"{reported}{after}, at_least asks for {least:g}", next_step="Top up the account, then clear the task."
    )


class CreditsEvent(BaseModel):
    """
    What the trigger saw at last.

    :param balance: in credits; None where it could not be read.
    :param error: why waiting on makes no sense, if so.
    """

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)

    version: Literal[1] = 1
    kind: Literal["credits"] = "credits"
    balance: float | None = None
    error: dict[str, Any] | None = None


def read_credits_event(payload: Any) -> CreditsEvent:
    """Read the trigger's event; raises SegmindEventError for anything else."""
    try:
        return CreditsEvent.model_validate(payload)
    except ValidationError as error:
        raise SegmindEventError(f"{payload!r:.300} ({error.error_count()} faults)") from None
