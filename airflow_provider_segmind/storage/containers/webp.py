"""
WebP: walk the chunks, write them again with other metadata, and verify that the file is as long as it states.

A WebP is a RIFF file: a length, and chunks with a name of four bytes and a length; a chunk of an odd length is padded.
A file with metadata begins with the chunk ``VP8X``, whose flags state which chunks follow.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Collection, Iterator, Mapping
from typing import BinaryIO

from airflow_provider_segmind.storage.containers.chunks import Chunk, MalformedError
from airflow_provider_segmind.storage.containers.spans import Part

#: Part of the metadata -> name of its chunk, flag in ``VP8X``.
METADATA = {"icc": (b"ICCP", 0x20), "exif": (b"EXIF", 0x08), "xmp": (b"XMP ", 0x04)}
_ALPHA = 0x10
_MOST_CHUNKS = 100_000
_LONGEST = 2**32 - 10


def chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield the chunks up to the end that the file states, or its actual end."""
    end = _stated_size(file)
    start = 12
    for _ in range(_MOST_CHUNKS):
        file.seek(start)
        head = file.read(8)
        if len(head) < 8 or start >= end:
            return
        length = int.from_bytes(head[4:], "little")
        yield (chunk := Chunk(head[:4], start, start + 8, length, start + 8 + length + length % 2))
        start = chunk.end
    raise MalformedError(f"it has more than {_MOST_CHUNKS} chunks")


def header_of(file: BinaryIO) -> tuple[int, tuple[int, int]]:
    """Return the flags, and width and height in pixels; a file without ``VP8X`` has the flag of its transparency."""
    first = next((chunk for chunk in chunks(file) if chunk.kind in (b"VP8X", b"VP8L", b"VP8 ")), None)
    head = first.head(file, 10) if first else b""
    if first and first.kind == b"VP8L" and len(head) >= 5:
        bits = int.from_bytes(head[1:5], "little")
        return _ALPHA if bits >> 28 & 1 else 0, ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if first is None or len(head) < 10:
        raise MalformedError("it does not begin with a chunk of pixels or flags")
    if first.kind == b"VP8X":
        return head[0], (int.from_bytes(head[4:7], "little") + 1, int.from_bytes(head[7:], "little") + 1)
    width, height = struct.unpack("<HH", head[6:])
    return 0, (width & 0x3FFF, height & 0x3FFF)


def rewritten(file: BinaryIO, new: Mapping[str, bytes], removed: Collection[int] = ()) -> list[Part]:
    """
    Return the file with changed metadata: the profile before the pixels, the rest at the end.

    :param new: the parts of the metadata that replace those of the file; an empty one removes it.
    :param removed: where further chunks start that are removed.
    :raises MalformedError: its header is damaged.
    """
    found = list(chunks(file))
    replaced = {b"VP8X", *(METADATA[part][0] for part in new)}
    left = [chunk for chunk in found if chunk.kind not in replaced and chunk.start not in removed]
    kept = [(chunk.start, chunk.end) for chunk in left]
    padding = b""
    if kept and kept[-1][1] == file.seek(0, io.SEEK_END) + 1:  # some writers do not pad the last chunk
        kept[-1], padding = (kept[-1][0], kept[-1][1] - 1), b"\0"
    before = b""
    if any(new.values()) or any(chunk.kind == b"VP8X" for chunk in found):
        flags, size = header_of(file)
        names = {chunk.kind for chunk in left}
        for part, (name, flag) in METADATA.items():
            flags = flags | flag if new.get(part) else flags & ~(0 if name in names else flag)
        sides = ((side - 1).to_bytes(3, "little") for side in size)
        before = _chunk(b"VP8X", struct.pack("<I", flags) + b"".join(sides))
    added = {part: _chunk(METADATA[part][0], content) for part, content in new.items() if content}
    before += added.pop("icc", b"")
    after = padding + b"".join(added.values())
    length = 4 + len(before) + sum(end - start for start, end in kept) + len(after)
    if length >= _LONGEST:
        raise MalformedError("its chunks are longer than the format allows")
    return [b"RIFF" + struct.pack("<I", length) + b"WEBP" + before, *kept, after]


def pixel_parts(file: BinaryIO) -> list[Part]:
    """Return the parts of the file that decide about the pixels, under a header that fits them."""
    return rewritten(file, dict.fromkeys(METADATA, b""))


def verify(file: BinaryIO) -> None:
    """
    Verify that the file has all the bytes that it and its chunks state.

    :raises MalformedError: it is cut.
    """
    actual = file.seek(0, io.SEEK_END)
    stated = _stated_size(file)
    if actual < stated:
        raise MalformedError(f"it is cut: it has {actual} of {stated} bytes")
    for chunk in chunks(file):
        if chunk.content + chunk.length > stated:
            raise MalformedError(f"its chunk {chunk.kind.decode('latin-1').strip()} is cut")


def _stated_size(file: BinaryIO) -> int:
    file.seek(4)
    return 8 + int.from_bytes(file.read(4), "little")


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
