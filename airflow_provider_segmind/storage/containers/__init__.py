"""Image containers (JPEG, PNG, WebP): walk their chunks, and verify everything that decides about the pixels."""

from __future__ import annotations

from typing import BinaryIO

from airflow_provider_segmind.protocol.content_types import HEAD, IMAGES, content_type


def format_of(file: BinaryIO) -> str | None:
    """Return Pillow's name of the format that the first bytes show; None if it is not accepted anywhere."""
    return IMAGES.get(content_type(head_of(file)) or "")


def head_of(file: BinaryIO) -> bytes:
    """Return the first bytes of a file, which show its format."""
    file.seek(0)
    return file.read(HEAD)
