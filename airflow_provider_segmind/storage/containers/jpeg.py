"""JPEG: walk the segments, and verify with libjpeg that all of the image is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from airflow_provider_segmind.storage.containers.spans import Part, Spans

_SOI, _EOI, _SOS, _COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
_APP = range(0xE0, 0xF0)
_EXIF = 0xE1
#: Application segments that decide about the colors: JFIF and Adobe.
_COLOR = (0xE0, 0xEE)
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
#: Baseline, extended and progressive frames with Huffman codes; with 8 bits, libjpeg verifies them.
_COMMON_FRAMES = (0xC0, 0xC1, 0xC2)
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
_SMALL_BLOCK, _BLOCK = 64, 1024**2
_MOST_SEGMENTS = 100_000
#: Scans of an image; encoders write about ten.
_MOST_SCANS = 100
#: Bytes of memory for an image of several scans, which libjpeg keeps whole.
_MEMORY = 256 * 1024**2
_EXTRANEOUS = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_HARMLESS_EXTRANEOUS = 16


class Segment(NamedTuple):
    """A segment: its marker, where the marker starts, and where the segment ends."""

    marker: int
    start: int
    end: int


class Structure(NamedTuple):
    """
    What the segments of an image state.

    :param parts: the parts of the file that decide about the structure of the pixels, up to the end of the image.
    :param decodable: libjpeg verifies images of this kind.
    :param memory: bytes that libjpeg needs at least to decode it.
    """

    parts: list[Part]
    decodable: bool
    memory: int


def segments(file: BinaryIO) -> Iterator[Segment]:
    """Yield the segments up to the end of the (first) image; the data of a scan is skipped."""
    position = 2
    for _ in range(_MOST_SEGMENTS):
        start = _next_marker(file, position)
        if start is None:
            return
        file.seek(start + 1)
        head = file.read(3)
        if head[0] == _EOI:
            yield Segment(_EOI, start, start + 2)
        if head[0] in (_SOI, _EOI) or len(head) < 3:
            return
        position = start + 2 + int.from_bytes(head[1:])
        yield Segment(head[0], start, position)
    raise ValueError(f"it has more than {_MOST_SEGMENTS} segments")


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
    yield 0, 2
    seen: set[int] = set()
    for marker, start, end in segments(file):
        if marker == _SOS:
            yield start, file.seek(0, 2)
            return
        if (marker not in _APP and marker != _COMMENT) or (marker in _COLOR and marker not in seen):
            yield start, end
        seen.add(marker)


def exif(file: BinaryIO, limit: int) -> bytes:
    """Return the first bytes of the EXIF data; empty if it has none."""
    for marker, start, end in segments(file):
        if marker == _SOS:
            break
        if marker == _EXIF:
            file.seek(start + 4)
            content = file.read(min(end - start - 4, limit))
            if content.startswith(b"Exif\0\0"):
                return content
    return b""


def verify(file: BinaryIO) -> bool:
    """
    Verify that all of the image is there: its end after the last scan, and no warning of libjpeg about its data.

    libjpeg decodes all of it, to an eighth of its size.

    :return: False if libjpeg did not decode it, because its kind is rare or it needs too much memory.
    :raises ValueError: something is missing or damaged.
    """
    structure = structure_of(file)
    if not structure.decodable or structure.memory > _MEMORY:
        return False
    content = Spans(file, structure.parts).readall() or b""
    warning = _warning(content)
    if (extraneous := _EXTRANEOUS.match(warning)) and _is_padding(content, int(extraneous[1])):
        warning = _warning(content[: -2 - int(extraneous[1])] + content[-2:])  # libjpeg reports its last warning only
    if warning.startswith(("Corrupt JPEG data", "Premature end")):
        raise ValueError(f"libjpeg reports: {warning}")
    return not warning


def structure_of(file: BinaryIO) -> Structure:
    """
    Return what the segments state.

    :raises ValueError: the end of the image is missing.
    """
    parts: list[Part] = [(0, 2)]
    frame: Segment | None = None
    last = Segment(_SOI, 0, 2)
    scans = 0
    for segment in segments(file):
        if last.marker == _SOS:
            parts.append((last.end, segment.start))  # the data of the scan
        if segment.marker not in _APP and segment.marker != _COMMENT:
            parts.append((segment.start, segment.end))
        if segment.marker in _FRAMES and frame is None:
            frame = segment
        scans += segment.marker == _SOS
        last = segment
    if last.marker != _EOI or not scans or frame is None:
        raise ValueError("the end of the image is missing")
    if scans > _MOST_SCANS:
        raise ValueError(f"it has more than {_MOST_SCANS} scans")
    return _structure(file, frame, scans, parts)


def _structure(file: BinaryIO, frame: Segment, scans: int, parts: list[Part]) -> Structure:
    file.seek(frame.start + 4)
    head = file.read(6)
    components = file.read(3 * head[5]) if len(head) == 6 else b""
    height, width = int.from_bytes(head[1:3]), int.from_bytes(head[3:5])
    across = [factors >> 4 for factors in components[1::3]]
    down = [factors & 15 for factors in components[1::3]]
    samples = sum(a * d for a, d in zip(across, down, strict=True)) / max(
        1, max(across, default=1) * max(down, default=1)
    )
    memory = int(2 * width * height * samples) if scans > 1 else 0
    return Structure(parts, frame.marker in _COMMON_FRAMES and head[:1] == b"\x08", memory)


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
