"""WebP: walk the chunks, and verify that the file is as long as it states."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from airflow_provider_segmind.storage.containers.spans import Part

_METADATA = {b"ICCP", b"EXIF", b"XMP "}
_FLAGS_OF_METADATA = 0x20 | 0x08 | 0x04  # in the first byte of VP8X
_HEADER = 12
_MOST_CHUNKS = 1_000_000


class Chunk(NamedTuple):
    """A chunk: its type, where it starts, the length of its data, and where the next chunk starts."""

    kind: bytes
    start: int
    length: int
    end: int


def chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield the chunks up to the end that the file states, or its actual end."""
    end = _stated_size(file)
    start = _HEADER
    for _ in range(_MOST_CHUNKS):
        file.seek(start)
        head = file.read(8)
        if len(head) < 8 or start >= end:
            return
        length = int.from_bytes(head[4:], "little")
        yield (chunk := Chunk(head[:4], start, length, start + 8 + length + length % 2))
        start = chunk.end
    raise ValueError(f"it has more than {_MOST_CHUNKS} chunks")


def pixel_parts(file: BinaryIO) -> list[Part]:
    """Return the parts of the file that decide about the pixels, under a header that fits them."""
    parts: list[Part] = []
    size = 4  # of what follows the field for the size
    for kind, start, length, end in chunks(file):
        if kind in _METADATA:
            continue
        size += end - start
        if kind == b"VP8X" and length:
            file.seek(start)
            head = file.read(9)
            parts += [head[:8] + bytes((head[8] & ~_FLAGS_OF_METADATA,)), (start + 9, end)]
        else:
            parts.append((start, end))
    return [b"RIFF" + min(size, 0xFFFFFFFF).to_bytes(4, "little") + b"WEBP", *parts]


def exif(file: BinaryIO, limit: int) -> bytes:
    """Return the first bytes of the EXIF data; empty if it has none."""
    for kind, start, length, _ in chunks(file):
        if kind == b"EXIF":
            file.seek(start + 8)
            return file.read(min(length, limit))
    return b""


def verify(file: BinaryIO) -> None:
    """
    Verify that the file has all the bytes that it and its chunks state.

    :raises ValueError: it is cut.
    """
    actual = file.seek(0, io.SEEK_END)
    stated = _stated_size(file)
    if actual < stated:
        raise ValueError(f"it is cut: it has {actual} of {stated} bytes")
    for kind, start, length, _ in chunks(file):
        if start + 8 + length > stated:
            raise ValueError(f"its chunk {kind.decode('latin-1').strip()} is cut")


def _stated_size(file: BinaryIO) -> int:
    file.seek(4)
    return 8 + int.from_bytes(file.read(4), "little")
