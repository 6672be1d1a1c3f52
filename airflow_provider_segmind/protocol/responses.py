"""
One answer of the gateway, and how its error side is read: the vendor's words, the reset of a rate limit.

Pure: an :class:`Answer` is a status, headers and bytes, from whatever client fetched them.
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
from airflow_provider_segmind.protocol.status import error_class

_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
#: What makes a URL a secret: Segmind's words about an input may quote its presigned URL.
_SIGNATURE = re.compile(
    r"((?:[?&;]|%3F|%26)[\w-]*(?:signature|credential|token|sig)(?:=|%3D))[^&\s\"'<>)]+", re.IGNORECASE
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_WORDS_KEPT = 2000  # characters; an error page can be long


@dataclass(frozen=True)
class Response:
    """What came back: status, headers (lower-case names) and the whole body."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        """Return the body as JSON, or None where it is not JSON."""
        return parse_json(self.content)

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
        """Name the body's type and size and show its beginning."""
        kind = self.headers.get("content-type", "no content type").split(";")[0]
        shown = clean(self.content[:120].decode("utf-8", "replace"))
        return f"{len(self.content)} bytes of {kind}" + (f" beginning with {shown!r}" if shown else "")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def parse_json(text: str | bytes) -> Any:
    """Return what the text says as JSON, or None where it is not JSON (NaN and Infinity are not)."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def with_masked_signature(text: str) -> str:
    """Return the text with what makes its URLs secrets masked."""
    return _SIGNATURE.sub(r"\1***", text)


def clean(text: str) -> str:
    """Make vendor text fit for one line of a log: no tags, no signatures, no control characters, not too long."""
    return " ".join(with_masked_signature(_CONTROL.sub(" ", _TAGS.sub(" ", text))).split())[:_WORDS_KEPT]


def text_of(body: Any, *, depth: int = 5) -> str:
    """Find the vendor's words in an error body, whatever its shape; what lies deeper than ``depth`` is not read."""
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
    """Return what the vendor said in this error answer: JSON's ``error``, or the text of an HTML page."""
    body = response.json()
    if body is not None:
        return text_of(body)
    return clean(response.content[:20_000].decode("utf-8", "replace"))


def timestamp(value: Any) -> datetime | None:
    """Read a timestamp as vendors write them: ISO 8601, epoch seconds or milliseconds, or an HTTP date."""
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


def _rate_limited(response: Response, words: str) -> SegmindRateLimitedError:
    """
    Read when the window opens again.

    The reset is a time on the server's clock, so the wait is counted from the answer's own Date where there
    is one: a worker whose clock is wrong still waits the right time.
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
        # Date has whole seconds only: one more, so that the window is surely open.
        retry_after = max(0.0, (reset_at - sent_at).total_seconds()) + 1.0
    return SegmindRateLimitedError(words, status=response.status, reset_at=reset_at, retry_after=retry_after)


def error_for(response: Response, *, about: str, request_id: str | None = None) -> SegmindError:
    """
    Return the error that an answer outside 2xx means.

    :param about: what the call named: ``"model"``, ``"request"`` or ``"account"``.
    """
    words = vendor_text(response)
    cls = error_class(response.status, words, about=about)
    if cls is SegmindRateLimitedError:
        error: SegmindError = _rate_limited(response, words)
        error.request_id = request_id
        return error
    if 300 <= response.status < 400:
        words = (
            f"it redirects to {clean(response.headers.get('location', 'nowhere'))[:200]}, and the key is not sent there"
        )
    return cls(words, status=response.status, request_id=request_id)


def number(value: Any) -> float | None:
    """Read a number out of JSON or a header; None for what is no finite number."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
