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
from airflow_provider_segmind.storage.metadata.parts import ALL, MOST, MOST_COPIED, Parts, inflate, may_have_gps

#: Bytes; Pillow does not open a PNG with a larger profile, or with a larger text that is compressed.
_READABLE = 1024**2
LIMITS: Mapping[str, int] = {"icc": _READABLE, "text": MOST, **MOST_COPIED}
#: Chunks that state the colour space, besides ``iCCP``; a viewer uses the first that it knows, ``iCCP`` after ``cICP``.
_COLOUR_CHUNKS = (b"cICP", b"sRGB", b"gAMA", b"cHRM")
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_PARTS = {b"iCCP": "icc", b"eXIf": "exif", **dict.fromkeys(_COLOUR_CHUNKS, "colour")}
_XMP = b"XML:com.adobe.xmp"
_RAW_EXIF = b"Raw profile type exif"  # how ImageMagick wrote EXIF before there was a chunk for it
#: Chunks without text, which stay as they are.
_KNOWN = {
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"iCCP", *_COLOUR_CHUNKS, b"sBIT"),
    *(b"mDCV", b"cLLI", b"mDCv", b"cLLi", b"bKGD", b"hIST", b"pHYs", b"sPLT", b"tIME", b"oFFs", b"sCAL", b"sTER"),
}
_CREDENTIALS = b"caBX"  # C2PA
#: Bytes of all the chunks that are searched for positions that one counts for if it is damaged.
_DAMAGED = MOST // 16
#: Beginnings of the names of texts that have EXIF or XMP as other software writes them, in lower case.
_OTHER_EXIF = (b"raw profile type", b"exif\0", b"xmp\0", b"app1\0")
_PROFILES = (b"raw profile type icc\0", b"raw profile type icm\0")
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
    end, room = len(png.SIGNATURE), MOST
    for chunk in png.chunks(file):
        stays = _part_of(file, chunk) not in changes.content
        if stays and not changes.gps and chunk.kind not in _KNOWN:
            room, stays = _room_without_gps(file, chunk, room)
        if stays:
            yield chunk.start, chunk.end
        if chunk.kind == b"IHDR":
            yield new
            new = b""
        end = chunk.end
    if changes.gps:
        yield end, max(end, file.seek(0, io.SEEK_END))


def _room_without_gps(file: BinaryIO, chunk: Chunk, room: int) -> tuple[int, bool]:
    """
    Return the bytes that are left to read further chunks, and whether this one is shown to be free of positions.

    :param room: the bytes that may be read, once unpacked: all chunks together have a limit, so that time has one.
    """
    try:
        part, content = _part_of(file, chunk), chunk.read(file, room)
        if chunk.kind in _TEXT_CHUNKS:
            before, text = _unpacked(chunk.kind, content, room)
            content = _described(part, before, text)
        elif chunk.kind == b"eXIf":
            content = content.removeprefix(b"Exif\0\0")
        elif chunk.kind == _CREDENTIALS:
            part = "credentials"
        else:
            return room, False
    except MalformedError:
        return max(0, room - _DAMAGED), False
    return max(0, room - len(content)), not may_have_gps(part, content)


def _described(part: str, before: bytes, text: bytes) -> bytes:
    """Return what a text has; raise MalformedError if it is EXIF or XMP in a form that is not read."""
    if part in ("exif", "xmp"):
        return _raw_profile(text) if part == "exif" else text
    name = before.lower()
    if name.startswith(_OTHER_EXIF) and not name.startswith(_PROFILES):
        raise MalformedError("it has EXIF or XMP in a form that is not read")
    return before + text


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


def _unpacked(kind: bytes, content: bytes, most: int = MOST) -> tuple[bytes, bytes]:
    """Return what precedes the text in a chunk without compression, and the text of at most so many bytes."""
    keyword, _, rest = content.partition(b"\0")
    if kind != b"iTXt":
        return keyword + b"\0", rest if kind == b"tEXt" else inflate(rest[1:], most)
    language, _, more = rest[2:].partition(b"\0")
    translated, _, text = more.partition(b"\0")
    before = b"\0".join((keyword, b"\0", language, translated, b""))
    return before, text if rest[:1] in (b"", b"\0") else inflate(text, most)


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
