"""Metadata of JPEG files: it is in the segments before the first scan."""

from __future__ import annotations

import io
import struct
from collections.abc import Collection, Iterator, Mapping
from itertools import takewhile
from typing import BinaryIO

from airflow_provider_segmind.storage.containers import jpeg
from airflow_provider_segmind.storage.containers.chunks import Chunk, MalformedError
from airflow_provider_segmind.storage.containers.spans import Part
from airflow_provider_segmind.storage.metadata.parts import ALL, MOST, Parts, may_have_gps

_EXIF = b"\xe1Exif\0\0"
_XMP = b"\xe1http://ns.adobe.com/xap/1.0/\0"
_XMP_EXTENSION = b"\xe1http://ns.adobe.com/xmp/extension/\0"
_ICC = b"\xe2ICC_PROFILE\0"  # followed by the number of the piece, from 1, and the number of pieces
_PHOTOSHOP = b"\xedPhotoshop 3.0\0"
#: The kind of a segment with the beginning of its content -> the part that it has.
_PARTS = {_EXIF: "exif", _XMP: "xmp", _XMP_EXTENSION: "xmp", _ICC: "icc", _PHOTOSHOP: "iptc"}
_IPTC = b"8BIM\x04\x04\0\0"  # a resource with the number of IPTC records and an empty name; then a length of four bytes
_COMMENT, _CREDENTIALS = b"\xfe", b"\xeb"
#: The kinds whose segments together have one content -> how each begins, and the bytes that are repeated in each.
_JOINED = {_CREDENTIALS: (b"JP", 16), _PHOTOSHOP[:1]: (_PHOTOSHOP[1:], len(_PHOTOSHOP) - 1)}
_ICC_PIECE = jpeg.LARGEST - len(_ICC) - 1
LIMITS: Mapping[str, int] = {
    "icc": min(MOST, 255 * _ICC_PIECE),
    "exif": jpeg.LARGEST - len(_EXIF) + 1,
    "xmp": jpeg.LARGEST - len(_XMP) + 1,
    "iptc": jpeg.LARGEST - len(_PHOTOSHOP) - len(_IPTC) - 4,
}
#: ICC's signature of a colour space, by the number of components.
_SPACES = {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}


def read(file: BinaryIO, wanted: Collection[str] = ALL) -> Parts:
    """Return the metadata of a JPEG; for an MPO file that of its first image."""
    parts, pieces = Parts(), list[bytes]()
    for segment in takewhile(lambda segment: segment.kind != jpeg.SOS, jpeg.segments(file)):
        if segment.kind in jpeg.FRAMES:
            parts.size, _, factors = jpeg.frame_of(file, segment)
            parts.space = _SPACES.get(len(factors), b"")
        prefix = _prefix(file, segment)
        part = _PARTS.get(prefix, "")
        if part not in wanted:
            continue
        content = segment.read(file, jpeg.LARGEST)[len(prefix) - 1 :]
        if prefix == _XMP_EXTENSION:
            parts.dropped["xmp"] = "the part of it that is in further segments is not supported"
        elif part == "icc":
            if len(pieces) < 256:  # no profile has more
                pieces.append(content)
        elif content := _iptc(content) if part == "iptc" else content:
            parts.content.setdefault(part, content)
    try:
        parts.content["icc"] = _joined(pieces)
    except MalformedError as error:
        parts.dropped["icc"] = str(error)
    return parts


def rewritten(file: BinaryIO, changes: Parts) -> Iterator[Part]:
    """Return a JPEG with changed metadata: after the JFIF segments, and before all others."""
    yield jpeg.SOI
    new = b"".join(_new_segments(changes))
    removed = () if changes.gps else _kinds_that_may_have_gps(file)
    kind, end, in_scans = b"", 0, False
    for segment in jpeg.segments(file):
        if segment.kind != jpeg.APP0:
            yield new
            new = b""
        if in_scans:
            yield end, segment.start
        kind, end, in_scans = segment.kind, segment.end, in_scans or segment.kind == jpeg.SOS
        if _PARTS.get(_prefix(file, segment)) in changes.content:
            continue
        if kind not in removed and (changes.gps or not _may_have_gps(file, segment)):
            yield segment.start, segment.end
    if not in_scans:
        raise MalformedError("it ends before its first scan")
    if changes.gps or kind not in jpeg.ENDS:
        yield end, max(end, file.seek(0, io.SEEK_END))


def _may_have_gps(file: BinaryIO, segment: Chunk) -> bool:
    """Return whether a segment may state a position on Earth; one of an unknown kind may."""
    prefix = _prefix(file, segment)
    if segment.kind not in jpeg.METADATA:
        return segment.kind == jpeg.ENDS[0]
    if segment.kind in _JOINED:
        return not segment.head(file, 16).startswith(_JOINED[segment.kind][0])
    if prefix == _ICC or (segment.kind in jpeg.COLOR and segment.head(file, 5) in (b"JFIF\0", b"Adobe")):
        return False
    if prefix not in (_EXIF, _XMP) and segment.kind != _COMMENT:
        return True
    return may_have_gps(_PARTS.get(prefix, ""), segment.head(file, jpeg.LARGEST)[max(0, len(prefix) - 1) :])


def _kinds_that_may_have_gps(file: BinaryIO) -> set[bytes]:
    """Return the kinds whose segments together may state a position on Earth."""
    found = {kind: bytearray() for kind in _JOINED}
    for segment in jpeg.segments(file):
        content = found.get(segment.kind)
        if content is not None and len(content) <= MOST:
            content += segment.head(file, jpeg.LARGEST)[_JOINED[segment.kind][1] :]
    parts = {_CREDENTIALS: "credentials"}
    return {
        kind
        for kind, content in found.items()
        if len(content) > MOST or may_have_gps(parts.get(kind, ""), bytes(content))
    }


def _prefix(file: BinaryIO, segment: Chunk) -> bytes:
    """Return the kind of a segment with the known beginning of its content; empty if it is not known."""
    head = segment.kind + segment.head(file, max(map(len, _PARTS)))
    return next((prefix for prefix in _PARTS if head.startswith(prefix)), b"")


def _joined(pieces: list[bytes]) -> bytes:
    """Return the profile that these pieces form; empty if there are none."""
    if any(len(piece) < 2 for piece in pieces):
        raise MalformedError("a piece of it is truncated")
    pieces = sorted(pieces, key=lambda piece: piece[0])
    if [(piece[0], piece[1]) for piece in pieces] != [(number, len(pieces)) for number in range(1, len(pieces) + 1)]:
        raise MalformedError("pieces of it are missing or occur twice")
    return b"".join(piece[2:] for piece in pieces)


def _iptc(resources: bytes) -> bytes:
    """Return the IPTC records among the resources of Photoshop; empty if there are none."""
    position = 0
    while resources[position : position + 4] == b"8BIM" and position + 12 <= len(resources):
        kind = resources[position + 4 : position + 6]
        position += 6 + (resources[position + 6] // 2 + 1) * 2  # a name: its length in one byte, padded to two
        length = int.from_bytes(resources[position : position + 4], "big")
        content = resources[position + 4 : position + 4 + length]
        if kind == _IPTC[4:6] and len(content) == length:
            return content
        position += 4 + length + length % 2
    return b""


def _new_segments(changes: Parts) -> Iterator[bytes]:
    """Yield the segments to write."""
    new = changes.content
    yield from (_segment(prefix, new[part]) for prefix, part in ((_EXIF, "exif"), (_XMP, "xmp")) if new.get(part))
    if iptc := new.get("iptc"):
        yield _segment(_PHOTOSHOP, _IPTC + struct.pack(">I", len(iptc)) + iptc + bytes(len(iptc) % 2))
    icc = new.get("icc", b"")
    pieces = [icc[start : start + _ICC_PIECE] for start in range(0, len(icc), _ICC_PIECE)]
    for number, piece in enumerate(pieces, 1):
        yield _segment(_ICC, bytes((number, len(pieces))) + piece)


def _segment(prefix: bytes, content: bytes) -> bytes:
    return b"\xff" + prefix[:1] + struct.pack(">H", len(prefix) + 1 + len(content)) + prefix[1:] + content
