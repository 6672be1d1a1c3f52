"""
Metadata of WebP files.

A WebP is a RIFF file: a length, and chunks with a name of four bytes and a length; a chunk of an odd length is padded.
A file with metadata begins with the chunk ``VP8X``, whose flags state which chunks follow.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from airflow_provider_segmind.storage.metadata.parts import (
    MAX_EXIF,
    MAX_ICC,
    MAX_PIECES,
    MAX_XMP,
    Changes,
    MalformedError,
    Parts,
    copy_range,
    read_at,
    size_of,
)

LIMITS = {"icc": MAX_ICC, "exif": MAX_EXIF, "xmp": MAX_XMP}
#: Part -> name of its chunk, flag in ``VP8X``.
_CHUNKS = {"icc": (b"ICCP", 0x20), "exif": (b"EXIF", 0x08), "xmp": (b"XMP ", 0x04)}
_ALPHA = 0x10


def is_webp(head: bytes) -> bool:
    """Return whether a file that begins so is a WebP."""
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def read(file: BinaryIO) -> Parts:
    """Return the metadata of a WebP."""
    chunks = list(_chunks(file))
    parts = Parts(size=_header(file, chunks)[1], space=b"RGB ")
    for part, (wanted, _) in _CHUNKS.items():
        start, end = next(((start, end) for name, start, end in chunks if name == wanted), (0, 0))
        if end - start > LIMITS[part]:
            parts.dropped.append((part, f"it has more than {LIMITS[part]} bytes"))
        elif end > start:
            content = read_at(file, start + 8, _length(file, start))
            setattr(parts, part, content.removeprefix(b"Exif\0\0") if part == "exif" else content)
    return parts


def write(file: BinaryIO, target: BinaryIO, changes: Changes) -> None:
    """Write a WebP with changed metadata: the profile before the pixels, the rest at the end."""
    chunks = list(_chunks(file))
    flags, (width, height) = _header(file, chunks)
    new = {part: content for part in _CHUNKS if (content := getattr(changes, part)) is not None}
    dropped = {b"VP8X", *(_CHUNKS[part][0] for part in new)}
    kept = [(start, end) for name, start, end in chunks if name not in dropped]
    for part, content in new.items():
        flags = flags | _CHUNKS[part][1] if content else flags & ~_CHUNKS[part][1]
    before = _chunk(b"VP8X", struct.pack("<I", flags) + _three(width - 1) + _three(height - 1))
    before += _new_chunk(new, "icc")
    after = _new_chunk(new, "exif") + _new_chunk(new, "xmp")
    total = 4 + len(before) + sum(end - start for start, end in kept) + len(after)
    if total >= 2**32 - 10:
        raise MalformedError("it would be larger than the format allows")
    target.write(b"RIFF" + struct.pack("<I", total) + b"WEBP" + before)
    for start, end in kept:
        copy_range(file, target, start, end)
    target.write(after)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end (positions in the file) of each chunk, with its padding."""
    end = 8 + int.from_bytes(read_at(file, 4, 4), "little")
    if end > size_of(file):
        raise MalformedError("the file is truncated")
    position = 12
    for _ in range(MAX_PIECES):
        if position + 8 > end:
            return
        name, length = struct.unpack("<4sI", read_at(file, position, 8))
        following = position + 8 + length + length % 2
        if following > end:
            raise MalformedError("a chunk of it has an impossible length")
        yield name, position, following
        position = following
    raise MalformedError(f"it has more than {MAX_PIECES} chunks")


def _length(file: BinaryIO, start: int) -> int:
    """Return the length of the content of the chunk at this position."""
    return int.from_bytes(read_at(file, start + 4, 4), "little")


def _header(file: BinaryIO, chunks: list[tuple[bytes, int, int]]) -> tuple[int, tuple[int, int]]:
    """Return the flags, and width and height in pixels; a file without ``VP8X`` has the flag of its transparency."""
    name, start, _ = chunks[0] if chunks else (b"", 0, 0)
    if name == b"VP8X":
        content = read_at(file, start + 8, 10)
        return content[0], (
            int.from_bytes(content[4:7], "little") + 1,
            int.from_bytes(content[7:10], "little") + 1,
        )
    if name == b"VP8L":
        bits = int.from_bytes(read_at(file, start + 9, 4), "little")
        return _ALPHA if bits >> 28 & 1 else 0, ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if name == b"VP8 ":
        width, height = struct.unpack("<HH", read_at(file, start + 14, 4))
        return 0, (width & 0x3FFF, height & 0x3FFF)
    raise MalformedError("it does not begin with a chunk of pixels or flags")


def _new_chunk(new: dict[str, bytes], part: str) -> bytes:
    return _chunk(_CHUNKS[part][0], new[part]) if new.get(part) else b""


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _three(number: int) -> bytes:
    return number.to_bytes(3, "little")
