"""
Segmind's responses as tolerant pydantic models: extra keys are ignored, unusable values become None.

Three things are errors all the same: a submit without a request id, an unknown status, and COMPLETED without an output.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urljoin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from airflow_provider_segmind.exceptions import (
    SegmindMalformedResponseError,
    SegmindMissingOutputError,
    SegmindRequestFailedError,
    SegmindUnknownStatusError,
)
from airflow_provider_segmind.protocol.data_uris import decode_base64
from airflow_provider_segmind.protocol.output_values import outputs_in
from airflow_provider_segmind.protocol.responses import number, parse_json, text_of, timestamp
from airflow_provider_segmind.protocol.status import failed_class
from airflow_provider_segmind.protocol.urls import is_url, url_of, without_signature
from airflow_provider_segmind.protocol.workflow_outputs import read_named, without_long

#: A request id is part of a URL's path, so other characters are refused. Segmind's ids are UUIDs.
REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_DEFAULT_TYPE = "application/octet-stream"

Number = Annotated[float | None, BeforeValidator(number)]
Text = Annotated[str | None, BeforeValidator(lambda value: value if isinstance(value, str) and value else None)]
Size = Annotated[
    int | None,
    BeforeValidator(lambda value: None if (found := number(value)) is None or found < 0 else int(found)),
]


def _several(value: Any) -> Any:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


class Wire(BaseModel):
    """Base of the models of Segmind's responses."""

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)


class RequestState(StrEnum):
    """The four states of a request, as the model pages list them."""

    QUEUED = "QUEUED"
    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class Metrics(Wire):
    """Cost in USD, balance in credits, times in seconds; each is None if Segmind does not state it."""

    cost: Number = None
    remaining_credits: Number = None
    inference_time: Number = None
    queue_time: Number = None
    total_time: Number = None


class OutputFile(Wire):
    """One output file."""

    url: str
    content_type: Text = None
    file_name: Text = None
    file_size: Size = None


class SubmittedRequest(Wire):
    """A submit that Segmind accepted."""

    request_id: str
    status: RequestState = RequestState.QUEUED


class RequestStatus(Wire):
    """The status of a request."""

    request_id: str
    state: RequestState
    metrics: Metrics = Metrics()
    error: str = ""

    def failure(self) -> SegmindRequestFailedError:
        """Return the error that this FAILED status means."""
        return failed_class(self.error)(self.error or "Segmind gives no reason", status=422, request_id=self.request_id)


class Result(Wire):
    """
    The final body of a request.

    ``output`` is the URL of the (first) output, or None if the output is not a URL: ``inline`` then has every output as
    base64 or text, or the items of a PixelFlow workflow. ``inline`` never leaves the process: :meth:`to_xcom` drops it.
    ``named`` has the outputs of a workflow by name, with None in place of values that are too long for XCom.
    """

    request_id: str
    model: str
    status: RequestState = RequestState.COMPLETED
    output: str | None = None
    outputs: list[OutputFile] = Field(default_factory=list)
    metrics: Metrics = Metrics()
    named: dict[str, Any] = Field(default_factory=dict)
    inline: Annotated[Sequence[Any], BeforeValidator(_several)] = Field(default=(), exclude=True, repr=False)

    @property
    def fetchable(self) -> bool:
        """True if the output is at a URL; a base64 output has to be fetched with the body."""
        if self.named:
            return None not in self.named.values()
        return self.output is not None or bool(self.outputs)

    def inline_contents(self) -> list[bytes]:
        """Return the bytes of the base64 outputs, each once; empty if one of them is not base64."""
        contents = [decode_base64(item) if isinstance(item, str) else None for item in self.inline]
        return [] if None in contents else list(dict.fromkeys(filter(None, contents)))

    def to_xcom(self) -> dict[str, Any]:
        """Return the small JSON object that an upscaling task returns."""
        return self.model_dump(mode="json", exclude=None if self.named else {"named"})


class SyncResult(Wire):
    """The response of the blocking call: the output itself, and its headers."""

    content: bytes = Field(repr=False)
    content_type: str = _DEFAULT_TYPE
    request_id: Text = None
    cost: Number = None
    remaining_credits: Number = None
    generation_time: Number = None
    seed: Text = None


class Credits(Wire):
    """The balance of the key's account, in credits."""

    credits: float
    free_credits: Annotated[float, BeforeValidator(lambda value: number(value) or 0.0)] = Field(
        default=0.0, alias="free-credits"
    )

    @property
    def total(self) -> float:
        """Paid and free credits together."""
        return self.credits + self.free_credits


class HistoryRow(Wire):
    """
    One row of the request history. Its shape is not documented, so only ``request_id`` is required.

    ``created_at`` is the earliest of the row's timestamps (ISO 8601, UTC).
    """

    request_id: str
    model: Text = None
    status: Text = None
    cost: Number = None
    parameters: dict[str, Any] | None = None
    output: Text = None
    error: Text = None
    created_at: Text = None


class HistoryPage(Wire):
    """One page of the request history: each request once, and the number of its rows."""

    rows: list[HistoryRow] = Field(default_factory=list)
    raw: int = 0

    def with_absolute(self, base_url: str) -> HistoryPage:
        """Return the page with absolute output URLs: some rows have only a path."""
        rows = [
            row.model_copy(update={"output": _absolute(base_url, row.output)}) if (row.output or "")[:1] == "/" else row
            for row in self.rows
        ]
        return self.model_copy(update={"rows": rows})


def _absolute(base_url: str, path: str | None) -> str | None:
    try:
        url = urljoin(base_url, path)
    except ValueError:
        return None
    return url if is_url(url) else None


def read_id(value: Any) -> str | None:
    """Return a request id without white space around it, or None if the value is not one."""
    found = value.strip() if isinstance(value, str) else ""
    return found if REQUEST_ID.fullmatch(found) else None


def status_name(value: Any) -> str | None:
    """Return a status in upper case and without white space around it, or None if it is not a text."""
    return value.strip().upper() if isinstance(value, str) else None


def read_state(value: Any, *, request_id: str, status: int | None = None) -> RequestState:
    """Return a status; raise SegmindUnknownStatusError if it is unknown, SegmindMalformedResponseError if missing."""
    name = status_name(value)
    if name is None:
        raise SegmindMalformedResponseError("the response has no status", status=status, request_id=request_id)
    try:
        return RequestState(name)
    except ValueError:
        raise SegmindUnknownStatusError(f"{value!r:.100}", status=status, request_id=request_id) from None


def read_metrics(body: dict[str, Any]) -> Metrics:
    """Return the metrics of a body; missing or unusable ones are None."""
    found = body.get("metrics")
    return Metrics.model_validate(found) if isinstance(found, dict) else Metrics()


def read_outputs(body: dict[str, Any]) -> tuple[list[OutputFile], list[str]]:
    """Return the output files in a COMPLETED body and its base64 outputs, in order and without duplicates."""
    files: dict[str, OutputFile] = {}
    inline: dict[str, None] = {}
    for key in ("images", "video", "videos", "audio", "audios", "output"):
        for found in outputs_in(body.get(key)):
            if is_url(found["url"]):
                files.setdefault(without_signature(found["url"]), OutputFile.model_validate(found))
            else:
                inline[found["url"]] = None
    return list(files.values()), list(inline)


def read_result(body: dict[str, Any], *, request_id: str, model: str) -> Result:
    """Return the result in a COMPLETED body; raise SegmindMissingOutputError if it has no usable output."""
    output = body.get("output")
    outputs, inline = read_outputs(body)
    if named := read_named(output):
        return _read_named_result(body, named, outputs, request_id=request_id, model=model)
    url = url_of(output)
    is_text = url is None and isinstance(output, str) and bool(output.strip())
    if not outputs and not inline and not is_text:
        shown = "missing" if output is None else f"an unusable {type(output).__name__}"
        raise SegmindMissingOutputError(f"the output is {shown}", request_id=request_id)
    if outputs and not is_text:
        url = url or outputs[0].url
    return Result(
        request_id=request_id,
        model=model,
        output=url,
        outputs=outputs,
        metrics=read_metrics(body),
        inline=inline or ([output] if is_text else []),
    )


def _read_named_result(
    body: dict[str, Any], named: dict[str, Any], files: list[OutputFile], *, request_id: str, model: str
) -> Result:
    urls = [url for value in named.values() for url in (value if isinstance(value, list) else [value]) if is_url(url)]
    known = {file.url: file for file in files}
    outputs = [known.get(url) or OutputFile(url=url) for url in dict.fromkeys(urls)]
    return Result(
        request_id=request_id,
        model=model,
        output=outputs[0].url if outputs else None,
        outputs=outputs,
        metrics=read_metrics(body),
        named=without_long(named),
        inline=[{"keyname": name, "value": value} for name, value in named.items()],
    )


def read_history(body: Any, *, depth: int = 3) -> HistoryPage | None:
    """Return the rows in a page of the history, whatever their envelope is; None if it has no list of rows."""
    if isinstance(body, list):
        # A request with several outputs has a row for each of them (source: SDK segmind 1.3.0).
        rows = [row for item in body if (row := _history_row(item))]
        return HistoryPage(rows=list({row.request_id: row for row in reversed(rows)}.values())[::-1], raw=len(body))
    if not isinstance(body, dict) or depth == 0:
        return None
    if row := _history_row(body):
        return HistoryPage(rows=[row], raw=1)
    pages = [read_history(value, depth=depth - 1) for value in body.values() if isinstance(value, list | dict)]
    return max(filter(None, pages), key=lambda page: len(page.rows), default=None)


def _history_row(item: Any) -> HistoryRow | None:
    request_id = read_id(item.get("request_id")) if isinstance(item, dict) else None
    if request_id is None:
        return None
    stamps = item.get("timestamps")
    times = list(stamps.values()) if isinstance(stamps, dict) else [stamps]
    times += [item.get(key) for key in ("model_created", "created_at", "createdAt", "timestamp")]
    known = sorted(found for value in times if value is not None and (found := timestamp(value)))
    return HistoryRow(
        request_id=request_id,
        model=item.get("model_name"),
        status=status_name(item.get("model_status")),
        cost=item.get("credits_deduction"),
        parameters=_parameters(item.get("request_body")),
        output=_output_of_row(item.get("generation_url")),
        error=text_of(item.get("error")),
        created_at=known[0].isoformat() if known else None,
    )


def _parameters(value: Any) -> dict[str, Any] | None:
    """Return a row's parameters; None if one of them is unusable: the row may then be any submit."""
    found = parse_json(value, unusable=math.nan) if isinstance(value, str) else value
    try:
        json.dumps(found, allow_nan=False)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _output_of_row(value: Any) -> str | None:
    """Return a row's output URL; some rows have only its path."""
    path = value.strip() if isinstance(value, str) else ""
    return path if path.startswith("/") else url_of(value)
