"""
Metadata of PNG files.

A PNG is a signature and a sequence of chunks: a length of four bytes, a name, a content and a checksum.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from airflow_provider_segmind.storage.metadata.parts import (
    MAX_EXIF,
    MAX_ICC,
    MAX_PIECES,
    MAX_TEXT,
    MAX_XMP,
    Changes,
    MalformedError,
    Parts,
    copy_range,
    inflate,
    read_at,
    size_of,
)

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Bytes; Pillow does not open a PNG with a larger profile.
_READABLE_ICC = 1024**2
LIMITS = {"icc": _READABLE_ICC, "exif": MAX_EXIF, "xmp": MAX_XMP, "text": MAX_TEXT}
#: Chunks that state the colour space, besides ``iCCP``; a viewer uses the first that it knows, ``iCCP`` after ``cICP``.
COLOUR_CHUNKS = (b"cICP", b"sRGB", b"gAMA", b"cHRM")
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_XMP = b"XML:com.adobe.xmp"
_RAW_EXIF = b"Raw profile type exif"  # how ImageMagick wrote EXIF before there was a chunk for it
_GREYSCALE = {0, 4}  # colour types
_LONG_TEXT = 1024**2
_MAX_CHUNKS = 1_000_000


def read(file: BinaryIO) -> Parts:
    """Return the metadata of a PNG."""
    parts, raw_exif = Parts(), None
    for name, start, end in _chunks(file):
        try:
            if name == b"IHDR":
                width, height, _, colour = struct.unpack_from(">IIBB", _content(file, start, end, most=13))
                parts.size, parts.space = (width, height), b"GRAY" if colour in _GREYSCALE else b"RGB "
            elif name == b"iCCP":
                parts.icc = inflate(_content(file, start, end, most=MAX_ICC).partition(b"\0")[2][1:], MAX_ICC)
            elif name == b"eXIf":
                parts.exif = _content(file, start, end, most=MAX_EXIF).removeprefix(b"Exif\0\0")
            elif name in COLOUR_CHUNKS:
                parts.colour[name] = _content(file, start, end, most=32)
            elif name in _TEXT_CHUNKS:
                raw_exif = _read_text(parts, name, _content(file, start, end, most=MAX_TEXT)) or raw_exif
        except MalformedError as error:
            parts.dropped.append((name.decode("latin-1"), str(error)))
    parts.exif = parts.exif or raw_exif
    return parts


def write(file: BinaryIO, target: BinaryIO, changes: Changes) -> None:
    """Write a PNG with changed metadata, all of it right after the header."""
    new = list(_new_chunks(changes))
    target.write(SIGNATURE)
    position = 0
    for name, start, end in _chunks(file):
        position = end
        if not _is_replaced(file, name, start, end, changes):
            copy_range(file, target, start, end)
        if name == b"IHDR":
            for new_name, content in new:
                checksum = zlib.crc32(new_name + content)
                target.write(struct.pack(">I", len(content)) + new_name + content + struct.pack(">I", checksum))
    copy_range(file, target, position)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end (positions in the file) of each chunk, ``IHDR`` to ``IEND``."""
    position, most, others = len(SIGNATURE), size_of(file), 0
    for number in range(_MAX_CHUNKS):
        length, name = struct.unpack(">I4s", read_at(file, position, 8))
        end = position + 12 + length
        others += name != b"IDAT"
        if end > most or others > MAX_PIECES or (number == 0) != (name == b"IHDR"):
            raise MalformedError("its chunks are not those of a whole PNG")
        yield name, position, end
        if name == b"IEND":
            return
        position = end
    raise MalformedError(f"it has more than {_MAX_CHUNKS} chunks")


def _content(file: BinaryIO, start: int, end: int, *, most: int) -> bytes:
    """Return the content of a chunk of at most ``most`` bytes; raise MalformedError if its checksum is wrong."""
    if end - start - 12 > most:
        raise MalformedError(f"it has more than {most} bytes")
    chunk = read_at(file, start, end - start)
    if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
        raise MalformedError("its checksum is wrong")
    return chunk[8:-4]


def _read_text(parts: Parts, name: bytes, content: bytes) -> bytes | None:
    """Add a text chunk to the parts; return the EXIF block in it, if it has one in ImageMagick's form."""
    keyword = content.partition(b"\0")[0]
    if keyword == _XMP and name == b"iTXt":
        parts.xmp = _text(name, content, MAX_XMP)
    elif keyword == _RAW_EXIF:
        return _raw_profile(_text(name, content, 3 * MAX_EXIF))
    elif not keyword.startswith(b"Raw profile type "):
        parts.text.append(_readable(name, content))
        if sum(len(kept) for _, kept in parts.text) > MAX_TEXT:
            parts.text.pop()
            raise MalformedError(f"all texts together have more than {MAX_TEXT} bytes")
    return None


def _readable(name: bytes, content: bytes) -> tuple[bytes, bytes]:
    """Return a text chunk, not compressed if it is long: Pillow opens no image with a long compressed text."""
    text = _text(name, content, MAX_TEXT)
    if len(text) <= _LONG_TEXT or name == b"tEXt":
        return name, content
    keyword, _, rest = content.partition(b"\0")
    if name == b"zTXt":
        return b"tEXt", keyword + b"\0" + text
    languages = rest[2:].split(b"\0", 2)[:2]
    return name, b"\0".join((keyword, b"\0", *languages, text))


def _text(name: bytes, content: bytes, most: int) -> bytes:
    """Return the unpacked text of a text chunk."""
    rest = content.partition(b"\0")[2]
    if name == b"tEXt":
        return rest
    if name == b"zTXt":
        return inflate(rest[1:], most)
    text = rest[2:].split(b"\0", 2)[-1]  # after the flags: a language, and the keyword in that language
    return inflate(text, most) if rest[:1] == b"\1" else text


def _raw_profile(text: bytes) -> bytes:
    """Return the block in ImageMagick's form: a line with its name, one with its length, and lines of hexadecimals."""
    try:
        block = bytes.fromhex(b"".join(text.split()[2:]).decode("ascii"))
    except ValueError as error:
        raise MalformedError("its hexadecimals are damaged") from error
    return block.removeprefix(b"Exif\0\0")


def _is_replaced(file: BinaryIO, name: bytes, start: int, end: int, changes: Changes) -> bool:
    """Return whether a chunk is not copied."""
    if name in (b"eXIf", b"iCCP"):
        return (changes.exif if name == b"eXIf" else changes.icc) is not None
    if name not in _TEXT_CHUNKS:
        return False
    keyword = read_at(file, start + 8, min(80, end - start - 12)).partition(b"\0")[0]
    return (keyword == _XMP and changes.xmp is not None) or (keyword == _RAW_EXIF and changes.exif is not None)


def _new_chunks(changes: Changes) -> Iterator[tuple[bytes, bytes]]:
    """Yield name and content of each chunk to write."""
    if changes.icc:
        yield b"iCCP", b"ICC profile\0\0" + zlib.compress(changes.icc)
    yield from changes.chunks
    if changes.exif:
        yield b"eXIf", changes.exif
    if changes.xmp:
        yield b"iTXt", _XMP + b"\0\0\0\0\0" + changes.xmp
