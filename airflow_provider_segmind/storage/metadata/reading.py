"""Read the metadata of an image file."""

from __future__ import annotations

from collections.abc import Collection
from typing import BinaryIO

from airflow_provider_segmind.storage.containers import format_of
from airflow_provider_segmind.storage.containers.chunks import MalformedError
from airflow_provider_segmind.storage.metadata import exif, jpeg, png, webp, xmp
from airflow_provider_segmind.storage.metadata.parts import ALL, ORIENTATION, Format, Parts

_FORMATS: dict[str, Format] = {"JPEG": jpeg, "PNG": png, "WEBP": webp}


def read(file: BinaryIO, wanted: Collection[str] = ALL) -> tuple[Format, Parts]:
    """Return the format of a file and these parts of its metadata; raise MalformedError if it cannot be read."""
    form = _FORMATS.get(format_of(file) or "")
    if form is None:
        raise MalformedError("it is not a JPEG, PNG or WebP")
    parts = form.read(file, wanted)
    if 0 in parts.size:
        raise MalformedError("it does not state its size")
    return form, parts


def orientation(file: BinaryIO) -> int:
    """Return the orientation of a JPEG, PNG or WebP, from 1 (upright) to 8; 1 if it is missing or unreadable."""
    try:
        return stated_orientation(read(file, ORIENTATION)[1]) or 1
    except MalformedError:
        return 1


def stated_orientation(parts: Parts) -> int | None:
    """Return the orientation that an image states: readers use that in XMP where EXIF states none."""
    return exif.orientation_of(parts.content.get("exif")) or xmp.orientation_of(parts.content.get("xmp"))
