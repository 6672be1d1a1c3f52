"""Images as text: base64 and data URIs."""

from __future__ import annotations

import base64
import binascii
import re

from airflow_provider_segmind.protocol.content_types import HEAD, content_type

_DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,", re.IGNORECASE)


def is_data_uri(text: str) -> bool:
    """Return whether a text begins like a base64 data URI; its content is not checked."""
    return _DATA_URI.match(text[:200]) is not None


def decode_base64(text: str) -> bytes | None:
    """Return the bytes of a data URI or of plain base64, or None if the text is neither."""
    start = text.index(",") + 1 if is_data_uri(text) else 0
    try:
        return base64.b64decode(text[start:], validate=True) or None
    except (binascii.Error, ValueError):
        return None


def data_uri(content: bytes, guessed: str | None = None) -> str:
    """
    Return content as a data URI.

    :param guessed: content type if the first bytes do not show one (default ``application/octet-stream``).
    """
    kind = content_type(content[:HEAD]) or guessed or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
