"""
One response of the gateway, and how its error is read: the vendor's message, the reset of a rate limit.

Pure: a :class:`Response` is a status, headers and bytes, whichever client received them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import pendulum

from airflow_provider_segmind.exceptions import (
    SegmindError,
    SegmindMalformedResponseError,
    SegmindRateLimitedError,
)
from airflow_provider_segmind.protocol.redaction import with_masked_signatures
from airflow_provider_segmind.protocol.status import error_class

_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_MAX_MESSAGE = 2000  # characters; an error page can be long
_ESCAPED = re.compile("[\udc80-\udcff]")
_MAX_DEPTH = 100  # levels of a JSON text


@dataclass(frozen=True)
class Response:
    """One HTTP response: status, headers (lower-case names) and the whole body."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self, *, unusable: Any = None) -> Any:
        """Return the body's value as JSON, or None if it is not JSON, see :func:`parse_json`."""
        return parse_json(self.content, unusable=unusable)

    def json_object(self, what: str, *, request_id: str | None = None) -> dict[str, Any]:
        """Return the body as a JSON object; raise SegmindMalformedResponseError for anything else."""
        body = self.json()
        if not isinstance(body, dict):
            raise SegmindMalformedResponseError(
                f"{what} is not a JSON object but {self.describe()}",
                status=self.status,
                request_id=request_id,
            )
        return body

    def describe(self) -> str:
        """Return the body's size, content type and first characters, for an error message."""
        kind = self.headers.get("content-type", "no content type").split(";")[0]
        shown = clean(self.content[:120].decode("utf-8", "replace"))
        return f"{len(self.content)} bytes of {kind}" + (f" beginning with {shown!r}" if shown else "")


def parse_json(text: str | bytes, *, unusable: Any = None) -> Any:
    """
    Return the value of a JSON text, or None if it is not JSON.

    What is not needed never makes a text unreadable: a byte that is not UTF-8 is read as Latin-1, control characters in
    strings are kept, and a surrogate without its pair becomes ``?``.

    :param unusable: what stands for a value that Python, or JSON itself, cannot represent: NaN, Infinity, a number of
        thousands of digits, and what is nested deeper than 100 levels (default None).
    """
    try:
        decoded = text if isinstance(text, str) else _decoded(text)
        found = json.loads(decoded.removeprefix("\ufeff"), strict=False, parse_int=_integer)
        return _usable(found, unusable, depth=_MAX_DEPTH)
    except (ValueError, RecursionError):
        return None


def _decoded(content: bytes) -> str:
    try:
        return content.decode(json.detect_encoding(content))
    except UnicodeDecodeError:
        text = content.decode("utf-8", "surrogateescape")  # a byte that is not UTF-8 is U+DC00 + the byte
        return _ESCAPED.sub(lambda found: chr(ord(found[0]) - 0xDC00), text)


def _integer(digits: str) -> float | int:
    try:
        return int(digits)
    except ValueError:  # Python limits the number of digits
        return math.nan


def _usable(value: Any, unusable: Any, *, depth: int) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else unusable
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        return unusable
    if isinstance(value, list):
        return [_usable(item, unusable, depth=depth - 1) for item in value]
    return {_usable(name, None, depth=0): _usable(item, unusable, depth=depth - 1) for name, item in value.items()}


def clean(text: str) -> str:
    """Return a vendor's text as one line of a log: no tags, no signatures, no control characters, 2000 characters."""
    return " ".join(with_masked_signatures(_CONTROL.sub(" ", _TAGS.sub(" ", text))).split())[:_MAX_MESSAGE]


def text_of(body: Any, *, depth: int = 5) -> str:
    """Return the vendor's message in an error body of any shape; levels deeper than ``depth`` are not read."""
    if depth == 0:
        return ""
    if isinstance(body, str):
        return clean(body)
    if isinstance(body, dict):
        for key in ("error", "message", "detail", "msg", "errors"):
            if body.get(key):
                return text_of(body[key], depth=depth - 1)
        return ""
    if isinstance(body, list):
        return "; ".join(filter(None, (text_of(item, depth=depth - 1) for item in body[:5])))
    return ""


def vendor_text(response: Response) -> str:
    """Return the vendor's message in an error response: JSON's ``error``, or the text of an HTML page."""
    body = response.json()
    if body is not None:
        return text_of(body)
    return clean(response.content[:20_000].decode("utf-8", "replace"))


def timestamp(value: Any) -> datetime | None:
    """Return a timestamp as vendors write it: ISO 8601, epoch seconds or milliseconds, or an HTTP date; else None."""
    try:
        if isinstance(value, int | float) or re.fullmatch(r"\s*\d+(\.\d+)?\s*", str(value)):
            number = float(value)
            return datetime.fromtimestamp(number / 1000 if number > 1e11 else number, UTC)
        text = str(value).strip()
        if "," in text:
            found: Any = parsedate_to_datetime(text)
        else:
            found = pendulum.parse(text, tz="UTC")
        if not isinstance(found, datetime):
            return None
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, OSError):
        return None


def _rate_limited(response: Response, message: str) -> SegmindRateLimitedError:
    """
    Return the error for a rate limit, with the moment of its reset.

    The reset is a time on the server's clock, so the wait is counted from the response's own ``Date`` header if it has
    one: a worker whose clock is wrong still waits the right time.
    """
    reset_at = timestamp(response.headers.get("x-rate-limit-reset-at-utc"))
    sent_at = timestamp(response.headers.get("date"))
    retry_after: float | None = None
    header = response.headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", header):
        retry_after = float(header)
    elif header and reset_at is None:
        reset_at = timestamp(header)
    if retry_after is None and reset_at is not None and sent_at is not None:
        # Date has whole seconds only: one second more, so that the limit has certainly been reset.
        retry_after = max(0.0, (reset_at - sent_at).total_seconds()) + 1.0
    return SegmindRateLimitedError(message, status=response.status, reset_at=reset_at, retry_after=retry_after)


def error_for(response: Response, *, about: str, request_id: str | None = None) -> SegmindError:
    """
    Return the error for a response outside 2xx.

    :param about: what the call is about: ``"model"``, ``"request"`` or ``"account"``.
    """
    message = vendor_text(response)
    cls = error_class(response.status, message, about=about)
    if cls is SegmindRateLimitedError:
        error: SegmindError = _rate_limited(response, message)
        error.request_id = request_id
        return error
    if 300 <= response.status < 400:
        target = clean(response.headers.get("location", "an address that it does not name"))[:200]
        message = f"the gateway redirects to {target}; the API key is not sent there"
    return cls(message, status=response.status, request_id=request_id)


def number(value: Any) -> float | None:
    """Return the number in a JSON value or a header, or None if it is not a finite number."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
