"""
Segmind's responses as tolerant pydantic models: extra keys are ignored, unusable values become None.

Three things are errors all the same: a submit without a request id, an unknown status, and COMPLETED without an output.
"""

from __future__ import annotations

import json
import re
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
from airflow_provider_segmind.protocol.responses import number, parse_json, text_of, timestamp
from airflow_provider_segmind.protocol.status import failed_class
from airflow_provider_segmind.protocol.urls import is_url
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

    ``output`` is the URL of the (first) output, or None if the output is not a URL: ``inline`` then has it as base64 or
    text. ``inline`` never leaves the process: :meth:`to_xcom` drops it. ``named`` has the outputs of a PixelFlow
    workflow by name, with None in place of values that are too long for XCom.
    """

    request_id: str
    model: str
    status: RequestState = RequestState.COMPLETED
    output: str | None = None
    outputs: list[OutputFile] = Field(default_factory=list)
    metrics: Metrics = Metrics()
    named: dict[str, Any] = Field(default_factory=dict)
    inline: str | None = Field(default=None, exclude=True, repr=False)

    @property
    def fetchable(self) -> bool:
        """True if the output is at a URL; a base64 output has to be fetched with the body."""
        if self.named:
            return None not in self.named.values()
        return self.output is not None or bool(self.outputs)

    def inline_bytes(self) -> bytes | None:
        """Return the bytes of a base64 output, or None if there is none."""
        return decode_base64(self.inline) if self.inline else None

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


def read_state(value: Any, *, request_id: str, status: int | None = None) -> RequestState:
    """Return a status; raise SegmindUnknownStatusError if it is unknown, SegmindMalformedResponseError if missing."""
    if not isinstance(value, str):
        raise SegmindMalformedResponseError("the response has no status", status=status, request_id=request_id)
    try:
        return RequestState(value.upper())
    except ValueError:
        raise SegmindUnknownStatusError(f"{value!r:.100}", status=status, request_id=request_id) from None


def read_metrics(body: dict[str, Any]) -> Metrics:
    """Return the metrics of a body; missing or unusable ones are None."""
    found = body.get("metrics")
    return Metrics.model_validate(found) if isinstance(found, dict) else Metrics()


def read_outputs(body: dict[str, Any]) -> list[OutputFile]:
    """Return the output files in a COMPLETED body, in order and without duplicates."""
    listed: list[Any] = []
    for key in ("images", "video", "videos", "audio", "audios"):
        value = body.get(key)
        listed += value if isinstance(value, list) else [value]
    output = body.get("output")
    listed += output if isinstance(output, list) else [output]
    files: dict[str, OutputFile] = {}
    for item in listed:
        entry = {"url": item} if isinstance(item, str) else item
        if isinstance(entry, dict) and is_url(entry.get("url")):
            files.setdefault(entry["url"], OutputFile.model_validate(entry))
    return list(files.values())


def read_result(body: dict[str, Any], *, request_id: str, model: str) -> Result:
    """Return the result in a COMPLETED body; raise SegmindMissingOutputError if it has no usable output."""
    output, outputs = body.get("output"), read_outputs(body)
    if named := read_named(output):
        return _read_named_result(body, named, outputs, request_id=request_id, model=model)
    inline = output if isinstance(output, str) and output.strip() and not is_url(output) else None
    if not outputs and inline is None:
        shown = "missing" if output is None else f"an unusable {type(output).__name__}"
        raise SegmindMissingOutputError(f"the output is {shown}", request_id=request_id)
    url = None if inline else (output if is_url(output) else outputs[0].url)
    return Result(
        request_id=request_id,
        model=model,
        output=url,
        outputs=outputs,
        metrics=read_metrics(body),
        inline=inline,
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
        inline=json.dumps([{"keyname": name, "value": value} for name, value in named.items()]),
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
    request_id = item.get("request_id") if isinstance(item, dict) else None
    if not isinstance(request_id, str) or not REQUEST_ID.fullmatch(request_id):
        return None
    stamps = item.get("timestamps")
    times = list(stamps.values()) if isinstance(stamps, dict) else [stamps]
    times += [item.get(key) for key in ("model_created", "created_at", "createdAt", "timestamp")]
    known = sorted(found for value in times if value is not None and (found := timestamp(value)))
    parameters = item.get("request_body")
    if isinstance(parameters, str):
        parameters = parse_json(parameters)
    return HistoryRow(
        request_id=request_id,
        model=item.get("model_name"),
        status=item.get("model_status"),
        cost=item.get("credits_deduction"),
        parameters=parameters if isinstance(parameters, dict) else None,
        output=url if is_url(url := item.get("generation_url")) or str(url).startswith("/") else None,
        error=text_of(item.get("error")),
        created_at=known[0].isoformat() if known else None,
    )
