"""The named outputs of a PixelFlow workflow: ``output`` is a JSON string of ``[{"keyname", "value"}]``."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from airflow_provider_segmind.protocol.responses import parse_json
from airflow_provider_segmind.protocol.urls import url_of

#: Characters; a longer value (an image as base64) is not put into XCom.
_MAX_VALUE = 4000


def read_named(output: Any) -> dict[str, Any]:
    """
    Return the outputs by name; empty if this is not the output of a workflow.

    A name that occurs twice gets a number, a missing name becomes ``output``, and null values are left out.
    """
    items = parse_json(output) if isinstance(output, str) and output.lstrip().startswith("[") else output
    if not isinstance(items, list) or not all(isinstance(item, dict) and "value" in item for item in items):
        return {}
    if not any("keyname" in item for item in items):
        return {}
    found: dict[str, Any] = {}
    for item in items:
        if item["value"] is not None:
            found[free_name(str(item.get("keyname") or "output"), found)] = _clean(item["value"])
    return found


def _clean(value: Any) -> Any:
    """Return a value without the white space around its URLs."""
    if isinstance(value, list):
        return [url_of(item) or item for item in value]
    if isinstance(value, dict):
        return {name: url_of(item) or item for name, item in value.items()}
    return url_of(value) or value


def free_name(name: str, taken: Collection[str], *, folds: bool = False) -> str:
    """
    Return the name, with a number appended if it is taken.

    :param name: the name.
    :param taken: the names that are taken.
    :param folds: treat names that differ only in case as the same, as some stores do (default False).
    """
    fold = str.casefold if folds else str
    used = {fold(one) for one in taken}
    number, free = 1, name
    while fold(free) in used:
        free, number = f"{name}_{number}", number + 1
    return free


def without_long(named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outputs with None in place of values that are too long for XCom."""
    return {name: None if _is_long(value) else value for name, value in named.items()}


def _is_long(value: Any) -> bool:
    return (isinstance(value, str) and len(value) > _MAX_VALUE) or len(json.dumps(value)) > _MAX_VALUE
