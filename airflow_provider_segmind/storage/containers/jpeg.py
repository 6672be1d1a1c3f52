"""JPEG: walk the segments, and verify with libjpeg that all of the image is there."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import BinaryIO

from airflow_provider_segmind.storage.containers.chunks import Chunk, MalformedError
from airflow_provider_segmind.storage.containers.spans import Part, Spans

SOI = b"\xff\xd8"
#: Kinds of segments.
APP0, SOS = b"\xe0", b"\xda"
FRAMES = {bytes((marker,)) for marker in {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}}
LARGEST = 0xFFFF - 2  # content of a segment
_START, _EOI = b"\xd8", b"\xd9"
ENDS = (_START, _EOI)
#: Application segments and comments. Of the former, JFIF and Adobe decide about the colors.
METADATA = {bytes((marker,)) for marker in (*range(0xE0, 0xF0), 0xFE)}
COLOR = (APP0, b"\xee")
#: Baseline, extended and progressive frames with Huffman codes; with 8 bits, libjpeg verifies them.
_COMMON_FRAMES = (b"\xc0", b"\xc1", b"\xc2")
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
_SMALL_BLOCK, _BLOCK = 64, 1024**2
_MOST_SEGMENTS = 100_000
#: Scans of an image; encoders write about ten.
_MOST_SCANS = 100
#: Bytes of memory for an image of several scans, which libjpeg keeps whole.
_MEMORY = 256 * 1024**2
#: Bytes of compressed data, which are held twice.
_MOST_BYTES = 96 * 1024**2
_EXTRANEOUS = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_HARMLESS_EXTRANEOUS = 16


def segments(file: BinaryIO) -> Iterator[Chunk]:
    """Yield the segments up to the end of the (first) image or the start of another; the data of a scan is skipped."""
    position = 2
    for _ in range(_MOST_SEGMENTS):
        start = _next_marker(file, position)
        if start is None:
            return
        file.seek(start + 1)
        head = file.read(3)
        kind = head[:1]
        if kind in ENDS:
            yield Chunk(kind, start, start + 2, 0, start + 2)
        if kind in ENDS or len(head) < 3:
            return
        length = max(0, int.from_bytes(head[1:]) - 2)
        position = start + 4 + length
        yield Chunk(kind, start, start + 4, length, position)
    raise MalformedError(f"it has more than {_MOST_SEGMENTS} segments")


def frame_of(file: BinaryIO, segment: Chunk) -> tuple[tuple[int, int], int, bytes]:
    """Return size in pixels, bits of a sample, and the sampling factors of each component in one byte."""
    content = segment.read(file, LARGEST)
    if len(content) < 6:
        raise MalformedError("its frame is truncated")
    precision, height, width, count = struct.unpack(">BHHB", content[:6])
    return (width, height), precision, content[7 : 6 + 3 * count : 3]


def _next_marker(file: BinaryIO, position: int) -> int | None:
    """Return where the next marker starts; the data of a scan has no marker but those of its restarts."""
    size = _SMALL_BLOCK
    while True:
        file.seek(position)
        block = file.read(size)
        if found := _MARKER.search(block):
            return position + found.start()
        if len(block) < size:
            return None
        position += size - 1  # a marker may lie across the border
        size = min(16 * size, _BLOCK)


def pixel_parts(file: BinaryIO) -> Iterator[Part]:
    """
    Yield the parts of the file that decide about the pixels.

    They have no index of further images: a file with several images, as phones write, is a JPEG of its first one.
    """
    yield SOI
    seen: set[bytes] = set()
    for kind, start, _, _, end in segments(file):
        if kind == SOS:
            yield start, file.seek(0, 2)
            return
        if kind not in METADATA or (kind in COLOR and kind not in seen):
            yield start, end
        seen.add(kind)


def verify(file: BinaryIO) -> bool:
    """
    Verify that all of the image is there: its end after the last scan, and no warning of libjpeg about its data.

    libjpeg decodes all of it, to an eighth of its size.

    :return: False if libjpeg did not decode it, because its kind is rare or it needs too much memory.
    :raises MalformedError: something is missing or damaged.
    """
    found = list(segments(file))
    frames = [segment for segment in found if segment.kind in FRAMES]
    scans = sum(segment.kind == SOS for segment in found)
    if not frames or not scans or found[-1].kind != _EOI:
        raise MalformedError("the end of the image is missing")
    if scans > _MOST_SCANS:
        raise MalformedError(f"it has more than {_MOST_SCANS} scans")
    size, precision, factors = frame_of(file, frames[0])
    memory = _memory_of(size, factors) if scans > 1 else 0
    if frames[0].kind not in _COMMON_FRAMES or precision != 8 or memory > _MEMORY:
        return False
    if found[-1].end > _MOST_BYTES:
        return False
    content = Spans(file, _structure(found)).readall() or b""
    warning = _warning(content)
    if (extraneous := _EXTRANEOUS.match(warning)) and _is_padding(content, int(extraneous[1])):
        warning = _warning(content[: -2 - int(extraneous[1])] + content[-2:])  # libjpeg reports its last warning only
    if warning.startswith(("Corrupt JPEG data", "Premature end")):
        raise MalformedError(f"libjpeg reports: {warning}")
    return not warning


def _structure(found: Sequence[Chunk]) -> Iterator[Part]:
    """Yield the parts of the file that decide about the structure of the pixels, up to the end of the image."""
    yield SOI
    for segment, following in pairwise(found):
        if segment.kind not in METADATA:
            yield segment.start, following.start if segment.kind == SOS else segment.end
    yield b"\xff" + _EOI


def _memory_of(size: tuple[int, int], factors: bytes) -> int:
    """Return the bytes that libjpeg needs at least for an image of several scans."""
    sampling = [(byte >> 4, byte & 15) for byte in factors] or [(1, 1)]
    samples = sum(across * down for across, down in sampling)
    largest = max(across for across, _ in sampling) * max(down for _, down in sampling)
    return 2 * size[0] * size[1] * samples // max(1, largest)


def _warning(content: bytes) -> str:
    """Return the last warning of libjpeg, or the error that ended it; empty if there is none."""
    import simplejpeg

    try:
        simplejpeg.decode_jpeg(content, colorspace="GRAY", min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError as error:
        return str(error)
    return ""


def _is_padding(content: bytes, extraneous: int) -> bool:
    """
    Return whether the bytes before the end of the image are padding, as some cameras write it.

    Zeros that overwrote the end of the image are not: the decoder took the first of them for pixels.
    """
    if extraneous <= _HARMLESS_EXTRANEOUS:
        return True
    padding, before = content[-2 - extraneous : -2], content[-10 - extraneous : -2 - extraneous]
    return len(set(padding)) == 1 and set(before) != {padding[0]}
