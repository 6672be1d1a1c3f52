"""Redaction: what of parameters and of Segmind's messages may be kept and shown."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from airflow_provider_segmind.protocol.content_types import HEAD, is_image
from airflow_provider_segmind.protocol.data_uris import decode_base64
from airflow_provider_segmind.protocol.urls import canonical_uri, is_url

_MAX_TEXT = 4096  # characters of a parameter; a longer one may be a file
#: The part of a URL's query that signs it, also quoted, anywhere in a text: error messages quote presigned URLs.
_SIGNATURE = re.compile(
    r"((?:[?&;]|%3F|%26)[\w-]*(?:signature|credential|token|sig)(?:=|%3D))[^&\s\"'<>)]+", re.IGNORECASE
)


def redacted(value: Any) -> Any:
    """Return parameters as they may be kept: a hash in place of each image, URLs without login and query."""
    if isinstance(value, Mapping):
        return {name: redacted(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    if not isinstance(value, str):
        return value
    if is_url(value):
        return canonical_uri(value)
    content = decode_base64(value)
    if (content and is_image(content[:HEAD])) or value[:5].lower() == "data:" or len(value) > _MAX_TEXT:
        return f"sha256:{hashlib.sha256(content or value.encode()).hexdigest()}"
    return value


def with_masked_signatures(text: str) -> str:
    """Return a text in which the signatures of URLs are masked."""
    return _SIGNATURE.sub(r"\1***", text)
