"""The outputs of a result that are to be stored: URLs to download, and content inside the response."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_segmind.exceptions import SegmindMissingOutputError
from airflow_provider_segmind.protocol.content_types import type_of_name
from airflow_provider_segmind.protocol.data_uris import decode_base64
from airflow_provider_segmind.protocol.output_values import file_in
from airflow_provider_segmind.protocol.urls import is_url
from airflow_provider_segmind.protocol.wire import Result
from airflow_provider_segmind.protocol.workflow_outputs import free_name, read_named

_UNFIT = re.compile(r"[^A-Za-z0-9_-]+")  # for a file's name
_MAX_NAME = 80


@dataclass(frozen=True)
class OutputSource:
    """
    One output.

    :param content: the URL to fetch it from, or the bytes themselves.
    :param suffix: appended to the object's name, so that each output has its own object.
    :param announced: the content type that the response or the URL claims.
    :param text: the content type of a text that we made, which is not verified.
    :param name: the output's name in its workflow.
    """

    content: str | bytes = field(repr=False)
    suffix: str = ""
    announced: str | None = None
    text: str | None = None
    name: str | None = None


def output_files(result: Result) -> list[OutputSource]:
    """Return the outputs to store; raise SegmindMissingOutputError if there are none."""
    if result.named:
        return list(_named(result))
    types = {file.url: file.content_type for file in result.outputs}
    urls = list(types) or ([result.output] if result.output else [])
    if urls:
        return [
            OutputSource(url, f"_{number}" if number else "", types.get(url) or type_of_name(url))
            for number, url in enumerate(urls)
        ]
    if not (contents := result.inline_contents()):
        raise SegmindMissingOutputError("its output is neither a URL nor base64", request_id=result.request_id)
    return [OutputSource(content, f"_{number}" if number else "") for number, content in enumerate(contents)]


def _named(result: Result) -> Iterator[OutputSource]:
    taken: dict[str, Any] = {}
    for name, value in (read_named(result.inline) or result.named).items():
        for item in value if isinstance(value, list) and all(map(file_in, value)) else [value]:
            suffix = free_name("_" + (_UNFIT.sub("_", name).strip("_")[:_MAX_NAME] or "output"), taken, folds=True)
            taken[suffix] = item
            yield _source(item, suffix, name)


def _source(value: Any, suffix: str, name: str) -> OutputSource:
    found = file_in(value)
    if is_url(found):
        return OutputSource(found or "", suffix, type_of_name(found or ""), name=name)
    if found and (content := decode_base64(found)):
        return OutputSource(content, suffix, name=name)
    if isinstance(value, str):
        return OutputSource(value.encode(), suffix, text="text/plain", name=name)
    return OutputSource(json.dumps(value).encode(), suffix, text="application/json", name=name)
