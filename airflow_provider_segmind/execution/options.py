"""What arguments may be, without anything that is heavy to import."""

from __future__ import annotations

from typing import Any, Final, Literal

IfExists = Literal["overwrite", "skip", "fail"]
NEVER_FOUND = "skip_existing never finds a destination with {request_id}: leave that out"


class _NotGiven:
    """Stands for an argument that was left out, where an explicit None is something else."""

    def __repr__(self) -> str:
        return "NOT_GIVEN"

    def __bool__(self) -> bool:
        return False


#: The default of an argument of which "left out" and "given as None" differ.
NOT_GIVEN: Final[Any] = _NotGiven()
