"""
Metadata of JPEG files.

A JPEG is a sequence of segments until its first scan: a marker (``FF E1`` …), a length of two bytes that counts itself,
and a content. What follows the first scan is copied as it is, including the further images of an MPO file.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import takewhile
from typing import BinaryIO

from airflow_provider_segmind.storage.metadata.parts import (
    COLOUR_SPACES,
    MAX_ICC,
    MAX_PIECES,
    Changes,
    MalformedError,
    Parts,
    copy_range,
    read_at,
    size_of,
)

_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_BLOCK = 4096
SIGNATURE = b"\xff\xd8\xff"
_APP0, _APP1, _APP2, _APP13, _SOS, _EOI = 0xE0, 0xE1, 0xE2, 0xED, 0xDA, 0xD9
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15: size and channels
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD8)}
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_ICC = b"ICC_PROFILE\0"  # followed by the number of the piece, from 1, and the number of pieces
_PHOTOSHOP = b"Photoshop 3.0\0"
_PREFIXES = {_APP1: (_EXIF, _XMP, _XMP_EXTENSION), _APP2: (_ICC,), _APP13: (_PHOTOSHOP,)}
_IPTC = b"8BIM\x04\x04\0\0"  # a resource with the number of IPTC records and an empty name; then a length of four bytes

_LARGEST = 0xFFFF - 2  # content of a segment
_ICC_PIECE = _LARGEST - len(_ICC) - 2
LIMITS = {
    "icc": min(MAX_ICC, 255 * _ICC_PIECE),
    "exif": _LARGEST - len(_EXIF),
    "xmp": _LARGEST - len(_XMP),
    "iptc": _LARGEST - len(_PHOTOSHOP) - len(_IPTC) - 5,
}


def read(file: BinaryIO) -> Parts:
    """Return the metadata of a JPEG; for an MPO file that of its first image."""
    parts, pieces = Parts(), list[bytes]()
    for marker, start, end in _segments(file):
        if marker in _FRAMES:
            _, height, width, channels = struct.unpack(">BHHB", read_at(file, start + 4, 6))
            parts.size, parts.space = (width, height), COLOUR_SPACES.get(channels, b"")
        prefix = _prefix(file, marker, start, end)
        content = read_at(file, start + 4 + len(prefix), end - start - 4 - len(prefix)) if prefix else b""
        if prefix == _EXIF:
            parts.exif = parts.exif or content
        elif prefix == _XMP:
            parts.xmp = parts.xmp or content
        elif prefix == _XMP_EXTENSION and not parts.dropped:
            parts.dropped.append(("xmp", "the part of it that is in further segments is not supported"))
        elif prefix == _PHOTOSHOP:
            parts.iptc = parts.iptc or _iptc(content)
        elif prefix == _ICC and len(pieces) < 256:
            pieces.append(content)
    if 0 in parts.size:
        raise MalformedError("it does not state its size")
    try:
        parts.icc = _joined(pieces)
    except MalformedError as error:
        parts.dropped.append(("icc", str(error)))
    return parts


def write(file: BinaryIO, target: BinaryIO, changes: Changes) -> None:
    """Write a JPEG with changed metadata: after the JFIF segments, and before all others."""
    segments = list(_segments(file))
    jfif = list(takewhile(lambda segment: segment[0] == _APP0, segments))
    replaced = _replaced(changes)
    target.write(b"\xff\xd8")
    for _, start, end in jfif:
        copy_range(file, target, start, end)
    for marker, content in _new_segments(changes):
        target.write(struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content)
    for marker, start, end in segments[len(jfif) : -1]:
        if _prefix(file, marker, start, end) not in replaced:
            copy_range(file, target, start, end)
    copy_range(file, target, segments[-1][1])


def _segments(file: BinaryIO) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end (positions in the file) of each segment; the last is the first scan."""
    position, most = 2, size_of(file)
    for _ in range(MAX_PIECES):
        position, marker = _next_marker(file, position)
        if marker == _EOI:
            raise MalformedError("it ends before its first scan")
        if marker in _WITHOUT_LENGTH:
            end = position + 2
        else:
            end = position + 2 + int.from_bytes(read_at(file, position + 2, 2), "big")
        if end > most or (end < position + 4 and marker not in _WITHOUT_LENGTH):
            raise MalformedError("a segment of it has an impossible length")
        yield marker, position, end
        if marker == _SOS:
            return
        position = end
    raise MalformedError(f"it has more than {MAX_PIECES} segments")


def _next_marker(file: BinaryIO, position: int) -> tuple[int, int]:
    """Return the next marker and its position: decoders skip bytes between two segments."""
    while True:
        file.seek(position)
        if found := _MARKER.search(content := file.read(_BLOCK)):
            return position + found.start(), content[found.start() + 1]
        if len(content) < _BLOCK:
            raise MalformedError("the file is truncated")
        position += _BLOCK - 1


def _prefix(file: BinaryIO, marker: int, start: int, end: int) -> bytes:
    """Return the known prefix with which the content of a segment begins; empty if there is none."""
    prefixes = _PREFIXES.get(marker, ())
    if not prefixes:
        return b""
    head = read_at(file, start + 4, min(end - start - 4, max(map(len, prefixes))))
    return next((prefix for prefix in prefixes if head.startswith(prefix)), b"")


def _joined(pieces: list[bytes]) -> bytes | None:
    """Return the profile that these pieces form; None if there are none."""
    if not pieces:
        return None
    if any(len(piece) < 2 for piece in pieces):
        raise MalformedError("a piece of it is truncated")
    if sorted(piece[0] for piece in pieces) != list(range(1, len(pieces) + 1)) or {p[1] for p in pieces} != {
        len(pieces)
    }:
        raise MalformedError("pieces of it are missing or occur twice")
    return b"".join(piece[2:] for piece in sorted(pieces, key=lambda piece: piece[0]))


def _iptc(resources: bytes) -> bytes | None:
    """Return the IPTC records among the resources of Photoshop; None if there are none."""
    position = 0
    while resources[position : position + 4] == b"8BIM" and position + 12 <= len(resources):
        kind = resources[position + 4 : position + 6]
        position += 6 + (resources[position + 6] // 2 + 1) * 2  # a name: its length in one byte, padded to two
        length = int.from_bytes(resources[position : position + 4], "big")
        content = resources[position + 4 : position + 4 + length]
        if kind == _IPTC[4:6] and len(content) == length:
            return content
        position += 4 + length + length % 2
    return None


def _replaced(changes: Changes) -> set[bytes]:
    """Return the prefixes of the segments that are not copied."""
    parts = ((changes.exif, {_EXIF}), (changes.xmp, {_XMP, _XMP_EXTENSION}), (changes.icc, {_ICC}))
    found = set[bytes]().union(*(prefixes for content, prefixes in parts if content is not None))
    return found | ({_PHOTOSHOP} if changes.iptc is not None else set())


def _new_segments(changes: Changes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of each segment to write."""
    if changes.exif:
        yield _APP1, _EXIF + changes.exif
    if changes.xmp:
        yield _APP1, _XMP + changes.xmp
    if changes.iptc:
        length = len(changes.iptc).to_bytes(4, "big")
        yield _APP13, _PHOTOSHOP + _IPTC + length + changes.iptc + bytes(len(changes.iptc) % 2)
    icc = changes.icc or b""
    pieces = [icc[start : start + _ICC_PIECE] for start in range(0, len(icc), _ICC_PIECE)]
    for number, piece in enumerate(pieces, 1):
        yield _APP2, _ICC + bytes((number, len(pieces))) + piece
