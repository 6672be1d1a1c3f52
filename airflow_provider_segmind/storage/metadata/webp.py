"""Metadata of WebP files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import BinaryIO

from airflow_provider_segmind.storage.containers import webp
from airflow_provider_segmind.storage.containers.chunks import Chunk, MalformedError
from airflow_provider_segmind.storage.containers.spans import Part
from airflow_provider_segmind.storage.metadata.parts import ALL, MOST, MOST_COPIED, Parts, may_have_gps

LIMITS: Mapping[str, int] = {"icc": MOST, **MOST_COPIED}
#: Chunks without text, which stay as they are.
_KNOWN = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP"}
_CREDENTIALS = b"C2PA"
_PARTS = {name: part for part, (name, _) in webp.METADATA.items()}


def read(file: BinaryIO, wanted: Collection[str] = ALL) -> Parts:
    """Return the metadata of a WebP."""
    parts = Parts(size=webp.header_of(file)[1], space=b"RGB ")
    for chunk in webp.chunks(file):
        part = _PARTS.get(chunk.kind, "")
        if part not in wanted or part in parts.content:
            continue
        try:
            content = chunk.read(file, MOST)
            parts.content[part] = content.removeprefix(b"Exif\0\0") if part == "exif" else content
        except MalformedError as error:
            parts.dropped[part] = str(error)
    return parts


def rewritten(file: BinaryIO, changes: Parts) -> list[Part]:
    """Return a WebP with changed metadata: the profile before the pixels, the rest at the end."""
    chunks = [] if changes.gps else webp.chunks(file)
    return webp.rewritten(file, changes.content, {chunk.start for chunk in chunks if _may_have_gps(file, chunk)})


def _may_have_gps(file: BinaryIO, chunk: Chunk) -> bool:
    """Return whether a chunk may state a position on Earth; one of an unknown kind, or that is too large, may."""
    if chunk.kind in _KNOWN:
        return False
    part = "credentials" if chunk.kind == _CREDENTIALS else _PARTS.get(chunk.kind, "")
    try:
        return not part or may_have_gps(part, chunk.read(file, MOST).removeprefix(b"Exif\0\0"))
    except MalformedError:
        return True
