"""Metadata of PNG files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from typing import BinaryIO

from airflow_provider_segmind.storage.containers import png
from airflow_provider_segmind.storage.containers.chunks import Chunk, MalformedError
from airflow_provider_segmind.storage.containers.spans import Part
from airflow_provider_segmind.storage.metadata.parts import ALL, MOST, MOST_COPIED, Parts, inflate

#: Bytes; Pillow does not open a PNG with a larger profile, or with a larger text that is compressed.
_READABLE = 1024**2
LIMITS: Mapping[str, int] = {"icc": _READABLE, "text": MOST, **MOST_COPIED}
#: Chunks that state the colour space, besides ``iCCP``; a viewer uses the first that it knows, ``iCCP`` after ``cICP``.
_COLOUR_CHUNKS = (b"cICP", b"sRGB", b"gAMA", b"cHRM")
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_PARTS = {b"iCCP": "icc", b"eXIf": "exif", **dict.fromkeys(_COLOUR_CHUNKS, "colour")}
_XMP = b"XML:com.adobe.xmp"
_RAW_EXIF = b"Raw profile type exif"  # how ImageMagick wrote EXIF before there was a chunk for it
_GREYSCALE = (0, 4)  # color types


def read(file: BinaryIO, wanted: Collection[str] = ALL) -> Parts:
    """Return the metadata of a PNG."""
    parts = Parts()
    for chunk in png.chunks(file):
        if chunk.kind == b"IHDR":
            width, height, _, color, *_ = png.header_of(file, chunk)
            parts.size, parts.space = (width, height), b"GRAY" if color in _GREYSCALE else b"RGB "
        part = _part_of(file, chunk)
        try:
            if part in wanted:
                _add(parts, part, chunk.kind, _content(file, chunk, 32 if part == "colour" else MOST))
        except MalformedError as error:
            parts.dropped[part] = str(error)
    return parts


def rewritten(file: BinaryIO, changes: Parts) -> Iterator[Part]:
    """Return a PNG with changed metadata, all of it right after the header."""
    new = b"".join(_new_chunks(changes))
    yield png.SIGNATURE
    end = len(png.SIGNATURE)
    for chunk in png.chunks(file):
        if _part_of(file, chunk) not in changes.content:
            yield chunk.start, chunk.end
        if chunk.kind == b"IHDR":
            yield new
            new = b""
        end = chunk.end
    yield end, max(end, file.seek(0, io.SEEK_END))


def _part_of(file: BinaryIO, chunk: Chunk) -> str:
    """Return the part of the metadata that a chunk has; empty if it has none, or one that is not copied."""
    if chunk.kind not in _TEXT_CHUNKS:
        return _PARTS.get(chunk.kind, "")
    keyword = chunk.head(file, 80).partition(b"\0")[0]
    if keyword.startswith(b"Raw profile type "):
        return "exif" if keyword == _RAW_EXIF else ""
    return "xmp" if keyword == _XMP else "text"


def _content(file: BinaryIO, chunk: Chunk, most: int) -> bytes:
    """Return the content of a chunk; raise MalformedError if it is too large or its checksum is wrong."""
    content = chunk.read(file, most)
    if zlib.crc32(content, zlib.crc32(chunk.kind)).to_bytes(4) != file.read(4):
        raise MalformedError("its checksum is wrong")
    return content


def _add(parts: Parts, part: str, kind: bytes, content: bytes) -> None:
    """Add the content of a chunk to the parts."""
    if part == "colour":
        parts.colour[kind] = content
    elif part == "text":
        parts.add_text(*_readable(kind, content))
    elif part == "icc":
        parts.content["icc"] = inflate(content.partition(b"\0")[2][1:])
    elif kind == b"eXIf":
        parts.content["exif"] = content.removeprefix(b"Exif\0\0")
    else:
        _, text = _unpacked(kind, content)
        parts.content.setdefault(part, _raw_profile(text) if part == "exif" else text)


def _readable(kind: bytes, content: bytes) -> tuple[bytes, bytes]:
    """Return a text chunk, not compressed if it is long: Pillow opens no image with a long compressed text."""
    before, text = _unpacked(kind, content)
    if len(text) <= _READABLE:
        return kind, content
    return b"tEXt" if kind == b"zTXt" else kind, before + text


def _unpacked(kind: bytes, content: bytes) -> tuple[bytes, bytes]:
    """Return what precedes the text in a chunk without compression, and the text."""
    keyword, _, rest = content.partition(b"\0")
    if kind != b"iTXt":
        return keyword + b"\0", rest if kind == b"tEXt" else inflate(rest[1:])
    language, _, more = rest[2:].partition(b"\0")
    translated, _, text = more.partition(b"\0")
    before = b"\0".join((keyword, b"\0", language, translated, b""))
    return before, inflate(text) if rest[:1] == b"\1" else text


def _raw_profile(text: bytes) -> bytes:
    """Return the block in ImageMagick's form: a line with its name, one with its length, and lines of hexadecimals."""
    try:
        block = bytes.fromhex(b"".join(text.split(None, 2)[2:]).decode("ascii"))
    except ValueError as error:
        raise MalformedError("its hexadecimals are damaged") from error
    return block.removeprefix(b"Exif\0\0")


def _new_chunks(changes: Parts) -> Iterator[bytes]:
    """Yield the chunks to write."""
    new = changes.content
    if icc := new.get("icc"):
        yield _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc))
    yield from (_chunk(kind, content) for kind, content in (*changes.colour.items(), *changes.text))
    if exif := new.get("exif"):
        yield _chunk(b"eXIf", exif)
    if xmp := new.get("xmp"):
        yield _chunk(b"iTXt", _XMP + b"\0\0\0\0\0" + xmp)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + zlib.crc32(kind + content).to_bytes(4)
