"""The outputs in a value of a response: a URL, an object with a ``url``, or base64; alone, in lists or in objects."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from airflow_provider_segmind.protocol.data_uris import is_file
from airflow_provider_segmind.protocol.urls import url_of


def file_in(value: Any) -> str | None:
    """Return the URL or the base64 that a text, or the ``url`` of an object, is; None if it is neither."""
    text = value.get("url") if isinstance(value, dict) else value
    if not isinstance(text, str):
        return None
    return url_of(text) or (text if is_file(text) else None)


def outputs_in(value: Any, *, depth: int = 3) -> Iterator[dict[str, Any]]:
    """Yield each output as an object whose ``url`` is a URL or base64; levels deeper than ``depth`` are not read."""
    if found := file_in(value):
        yield {**(value if isinstance(value, dict) else {}), "url": found}
    elif isinstance(value, list | dict) and depth:
        for item in value.values() if isinstance(value, dict) else value:
            yield from outputs_in(item, depth=depth - 1)
