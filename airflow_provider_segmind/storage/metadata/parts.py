"""What an image file holds besides its pixels, and the limits up to which it is read."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

#: Bytes of each part, once unpacked. A part that is larger is not copied.
MAX_ICC = 16 * 1024**2
MAX_EXIF = 1024**2
MAX_XMP = 4 * 1024**2
#: Of one text of a PNG, and of all its texts together.
MAX_TEXT = 16 * 1024**2
#: Segments or chunks of one file. The IDAT chunks of a PNG are not counted before a million.
MAX_PIECES = 10_000
#: ICC's signature of a colour space, by the number of channels without alpha.
COLOUR_SPACES = {1: b"GRAY", 3: b"RGB ", 4: b"CMYK"}


class MalformedError(ValueError):
    """A file or a part of it is damaged, too large, or of an unknown kind. Does not leave this package's storage."""


@dataclass
class Parts:
    """
    The metadata of an image file.

    :param size: width and height in pixels, as stored.
    :param space: ICC's signature of the colour space of the pixels.
    :param icc: the ICC profile.
    :param exif: the EXIF block, from its TIFF header on.
    :param xmp: the XMP packet.
    :param iptc: the IPTC records of a JPEG.
    :param colour: the chunks of a PNG that state its colour space, by name, without ``iCCP``.
    :param text: the text chunks of a PNG, name and content.
    :param dropped: what was found and is not copied: part and reason.
    """

    size: tuple[int, int] = (0, 0)
    space: bytes = b""
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    colour: dict[bytes, bytes] = field(default_factory=dict)
    text: list[tuple[bytes, bytes]] = field(default_factory=list)
    dropped: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Changes:
    """
    What is written instead of a file's own metadata: None keeps a part as it is, empty bytes remove it.

    :param chunks: further chunks of a PNG, name and content.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    chunks: list[tuple[bytes, bytes]] = field(default_factory=list)


class Container(Protocol):
    """A format of image files; each is a module."""

    @property
    def LIMITS(self) -> Mapping[str, int]:  # noqa: N802  # a constant of the module
        """Bytes that a part may have in this format, by part; the parts that this format does not have are missing."""
        ...

    def read(self, file: BinaryIO) -> Parts:
        """Return the metadata of a file. Raise MalformedError if its structure is damaged."""
        ...

    def write(self, file: BinaryIO, target: BinaryIO, changes: Changes) -> None:
        """Write the file with changed metadata. Raise MalformedError if its structure is damaged."""
        ...


def read_at(file: BinaryIO, position: int, length: int) -> bytes:
    """Return exactly these bytes; raise MalformedError if the file ends before."""
    file.seek(position)
    content = file.read(length)
    if len(content) != length:
        raise MalformedError("the file is truncated")
    return content


def copy_range(file: BinaryIO, target: BinaryIO, start: int, end: int | None = None) -> None:
    """Copy the bytes from ``start`` to ``end`` (default: the end of the file), one MiB at a time."""
    file.seek(start)
    if end is None:
        shutil.copyfileobj(file, target, 1024**2)
        return
    while start < end:
        content = file.read(min(1024**2, end - start))
        if not content:
            raise MalformedError("the file is truncated")
        target.write(content)
        start += len(content)


def size_of(file: BinaryIO) -> int:
    """Return the size of a file in bytes."""
    return file.seek(0, 2)


def inflate(content: bytes, most: int) -> bytes:
    """Return the content of a zlib stream; raise MalformedError if it is damaged or has more than ``most`` bytes."""
    inflater = zlib.decompressobj()
    try:
        unpacked = inflater.decompress(content, most + 1)
    except zlib.error as error:
        raise MalformedError(f"its compressed data is damaged ({error})") from error
    if len(unpacked) > most:
        raise MalformedError(f"it has more than {most} bytes once unpacked")
    if not inflater.eof:
        raise MalformedError("its compressed data is truncated")
    return unpacked
