"""Parameters as they may be kept and shown: a hash for each picture in them, no query of a URL."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from airflow_provider_segmind.protocol.content_types import HEAD, is_image
from airflow_provider_segmind.protocol.identity import without_query
from airflow_provider_segmind.protocol.models import decode_base64
from airflow_provider_segmind.protocol.wire import is_url

_LONGEST_TEXT = 4096  # characters of a parameter; what is longer may be a file


def redacted(value: Any) -> Any:
    """Return parameters as they may be kept: a hash for each picture in them, URLs without their queries."""
    if isinstance(value, Mapping):
        return {name: redacted(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    if not isinstance(value, str):
        return value
    if is_url(value):
        return without_query(value)
    content = decode_base64(value)
    if (content and is_image(content[:HEAD])) or value[:5].lower() == "data:" or len(value) > _LONGEST_TEXT:
        return f"sha256:{hashlib.sha256(content or value.encode()).hexdigest()}"
    return value
