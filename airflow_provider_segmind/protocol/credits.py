"""Balances: accounts without one, balances that are too low, and the event of a trigger that waits for a top-up."""

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
    """Return whether a valid key has no balance yet: Segmind responds with 404 "No credits found for the user"."""
    return isinstance(error, SegmindResponseError) and error.status == 404 and "credits" in error.detail.lower()


def least_of(at_least: Any) -> float:
    """Return the required balance in credits; raise SegmindConfigError if it is not a number of 0 or more."""
    least = number(at_least)
    if least is None or least < 0:
        raise SegmindConfigError(f"at_least must be a number of credits, 0 or more (got {at_least!r:.100})")
    return least


def too_low(balance: float | None, least: float, *, waited: float | None = None) -> SegmindInsufficientCreditsError:
    """
    Return the error for a balance that is too low.

    :param balance: in credits; None if it is unknown.
    :param least: the required balance in credits.
    :param waited: seconds for which it was waited for; None (default) if it was not.
    """
    reported = "the balance is unknown" if balance is None else f"the balance is {balance:g} credits"
    after = "" if waited is None else f" after {waited:g} s"
    return SegmindInsufficientCreditsError(
        f"{reported}{after}, but at_least requires {least:g}", next_step="Top up the account, then clear the task."
    )


class CreditsEvent(BaseModel):
    """
    The last balance that the trigger saw.

    :param balance: in credits; None if it could not be read.
    :param error: the error that ended the wait, if there was one.
    """

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)

    version: Literal[1] = 1
    kind: Literal["credits"] = "credits"
    balance: float | None = None
    error: dict[str, Any] | None = None


def read_credits_event(payload: Any) -> CreditsEvent:
    """Return the trigger's event; raise SegmindEventError for anything else."""
    try:
        return CreditsEvent.model_validate(payload)
    except ValidationError as error:
        raise SegmindEventError(f"{payload!r:.300} ({error.error_count()} faults)") from None
