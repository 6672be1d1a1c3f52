"""What an image file holds besides its pixels, and the limits up to which it is read."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from airflow_provider_segmind.storage.containers.chunks import MalformedError
from airflow_provider_segmind.storage.containers.spans import Part
from airflow_provider_segmind.storage.metadata import exif, gps, xmp

#: Bytes up to which a part is read, once unpacked, and all texts of a PNG together.
MOST = 16 * 1024**2
#: Bytes up to which a part is copied, if that is less.
MOST_COPIED = {"exif": 1024**2, "xmp": 4 * 1024**2}
_TEXT_OVERHEAD = 256  # memory of an empty text
#: The parts that may state an orientation, and all parts.
ORIENTATION = ("exif", "xmp")
ALL = (*ORIENTATION, "icc", "iptc", "colour", "text")


@dataclass
class Parts:
    """
    The metadata of an image file, or what is written instead of it.

    In the latter, a part that ``content`` lacks stays as it is, and an empty one is removed; the chunks are added.

    :param size: width and height in pixels, as stored.
    :param space: ICC's signature of the colour space of the pixels.
    :param content: ``icc``: the profile; ``exif``: the block, from its TIFF header on; ``xmp``: the packet; ``iptc``:
        the records of a JPEG.
    :param colour: the chunks of a PNG that state its colour space, by name, without ``iCCP``.
    :param text: the text chunks of a PNG, name and content.
    :param dropped: what was found and is not copied: part and reason.
    :param gps: what may state a position on Earth stays; if not, it is removed, and all behind the end of the image.
    """

    size: tuple[int, int] = (0, 0)
    space: bytes = b""
    content: dict[str, bytes] = field(default_factory=dict)
    colour: dict[bytes, bytes] = field(default_factory=dict)
    text: list[tuple[bytes, bytes]] = field(default_factory=list)
    dropped: dict[str, str] = field(default_factory=dict)
    gps: bool = True
    _room_for_text: int = MOST

    def add_text(self, kind: bytes, content: bytes) -> None:
        """Add a text chunk; raise MalformedError if all of them would have too many bytes."""
        if (room := self._room_for_text - len(content) - _TEXT_OVERHEAD) < 0:
            raise MalformedError(f"all texts together have more than {MOST} bytes")
        self._room_for_text = room
        self.text.append((kind, content))


class Format(Protocol):
    """The metadata of a format of image files; each is a module. All raise MalformedError for a damaged file."""

    #: Bytes that a part may have in this format; the parts that it does not have are missing.
    LIMITS: Mapping[str, int]

    def read(self, file: BinaryIO, wanted: Collection[str]) -> Parts:
        """Return these parts of the metadata of a file."""

    def rewritten(self, file: BinaryIO, changes: Parts) -> Iterable[Part]:
        """Return the file with changed metadata."""


def may_have_gps(part: str, content: bytes) -> bool:
    """Return whether a part of the metadata may state a position on Earth."""
    judge = {"exif": exif.may_have_gps, "xmp": xmp.may_have_gps, "credentials": gps.in_credentials}
    return judge.get(part, gps.mentioned)(content)


def inflate(content: bytes, most: int = MOST) -> bytes:
    """Return the content of a zlib stream; raise MalformedError if it is damaged or too large."""
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
