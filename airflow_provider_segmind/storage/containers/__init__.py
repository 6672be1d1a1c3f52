"""Image containers (JPEG, PNG, WebP): walk their chunks, and verify everything that decides about the pixels."""

from __future__ import annotations

from typing import BinaryIO

from airflow_provider_segmind.protocol.content_types import HEAD, IMAGES, content_type


def format_of(file: BinaryIO) -> str | None:
    """Return Pillow's name of the format that the first bytes show; None if it is not accepted anywhere."""
    file.seek(0)
    return IMAGES.get(content_type(file.read(HEAD)) or "")
