"""
Images as text: base64 and data URIs, in every spelling that services and people use.

A data URI may have any parameters in any order. Base64 may be wrapped, use the URL-safe alphabet, or have no padding.
"""

from __future__ import annotations

import base64
import binascii
import re

from airflow_provider_segmind.protocol.content_types import HEAD, content_type
from airflow_provider_segmind.protocol.urls import url_of

_DATA_URI = re.compile(r"\s*data:([^,]*),", re.IGNORECASE)
_MAX_HEADER = 1000  # characters before the content of a data URI
_SPACE = b" \t\r\n\v\f"
_STANDARD = bytes.maketrans(b"-_", b"+/")
_HEAD_TEXT = 4 * HEAD  # characters; they hold HEAD bytes, whatever the white space between them
#: Characters of a line of base64, and of a whole text, that words of a language do not have.
_LONG_LINE, _LONG_TEXT = 40, 64


def is_data_uri(text: str) -> bool:
    """Return whether a text begins like a base64 data URI; its content is not checked."""
    return _start(text) > 0


def announced_type(text: str) -> str | None:
    """Return the content type that a data URI states, or None if it states none."""
    found = _DATA_URI.match(text, 0, _MAX_HEADER)
    return (found[1].partition(";")[0].strip().lower() or None) if found else None


def decode_base64(text: str) -> bytes | None:
    """
    Return the bytes of a data URI or of plain base64, or None if the text is neither.

    Words are valid base64 without padding, too. So plain text in another than the standard spelling is base64 only if
    its bytes show a content type, or if it is longer than words are.
    """
    start = _start(text)
    try:
        return binascii.a2b_base64(text[start:], strict_mode=True) or None
    except ValueError:  # binascii.Error is one
        content = _decoded(text[start:])
    if content and (start or _is_long(text) or content_type(content[:HEAD])):
        return content
    return None


def is_file(text: str) -> bool:
    """Return whether a text is a data URI, or base64 whose first bytes show a content type; only these are decoded."""
    start = _start(text)
    if start:
        return True
    head = _decoded(text[:_HEAD_TEXT], is_part=len(text) > _HEAD_TEXT)
    return head is not None and content_type(head) is not None


def data_uri(content: bytes, guessed: str | None = None) -> str:
    """
    Return content as a data URI, in its canonical spelling.

    :param guessed: content type if the first bytes do not show one (default ``application/octet-stream``).
    """
    kind = content_type(content[:HEAD]) or guessed or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def canonical_image(text: str) -> str:
    """Return an image, which is a URL or base64 in any spelling, in the one spelling that is sent; else the text."""
    if (url := url_of(text)) is not None:
        return url
    content = decode_base64(text) if is_file(text) else None
    return text if content is None else data_uri(content, announced_type(text))


def _start(text: str) -> int:
    """Return where the content of a base64 data URI begins; 0 if the text is not one."""
    found = _DATA_URI.match(text, 0, _MAX_HEADER)
    if found is None or "base64" not in (parameter.strip().lower() for parameter in found[1].split(";")[1:]):
        return 0
    return found.end()


def _decoded(text: str, *, is_part: bool = False) -> bytes | None:
    """Return the bytes of base64 in any spelling, of its complete groups if it is a part; None if it is not base64."""
    try:
        raw = text.encode("ascii").translate(_STANDARD, delete=_SPACE)
        if missing := -len(raw) % 4:
            raw = raw[: len(raw) // 4 * 4] if is_part else raw + b"=" * missing
        return binascii.a2b_base64(raw, strict_mode=True)
    except ValueError:
        return None


def _is_long(text: str) -> bool:
    *lines, _ = text[:_MAX_HEADER].split() or [""]
    return len(text) >= _LONG_TEXT and all(len(line) >= _LONG_LINE for line in lines)
