"""What every operator and transfer needs: literals told from templates, permanent errors, a name for a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_segmind.exceptions import SegmindError

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


def is_final(value: Any) -> bool:
    """Tell whether an argument is a literal: no template, and nothing (an XComArg) that exists only at run time."""
    if isinstance(value, str):
        return not any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, Mapping):
        return all(is_final(item) for item in value.values())
    if isinstance(value, list | tuple | set):
        return all(is_final(item) for item in value)
    return value is None or isinstance(value, bool | int | float | bytes)


@contextmanager
def permanent_errors_fail() -> Iterator[None]:
    """Turn an error that a retry cannot mend into AirflowFailException, with the cause kept."""
    try:
        yield
    except SegmindError as error:
        if error.retryable:
            raise
        raise AirflowFailException(str(error)) from error


def file_name(context: Context) -> str:
    """Return a name for this task instance's file: the task id and, where it is mapped, the map index."""
    ti = context["ti"]
    map_index = ti.map_index if ti.map_index is not None else -1
    return ti.task_id if map_index < 0 else f"{ti.task_id}_{map_index}"
