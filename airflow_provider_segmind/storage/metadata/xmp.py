"""
Adjust an XMP packet to the image that it is copied to.

The packet is changed as text, so that everything else stays as it was written; that the result is XML is checked. A
property is an attribute or an element, with the prefix that XMP's specification prefers for its namespace; that of a
position on Earth may have any prefix.
"""

from __future__ import annotations

import io
import re
from xml.parsers import expat

from airflow_provider_segmind.storage.containers.chunks import MalformedError
from airflow_provider_segmind.storage.metadata import gps as positions

_ORIENTATION = rb"tiff:Orientation"
_WIDTH, _HEIGHT = rb"(?:exif:PixelXDimension|tiff:ImageWidth)", rb"(?:exif:PixelYDimension|tiff:ImageLength)"
#: What describes the file that the packet comes from: its thumbnail, further segments, a gain map, a video behind it.
_OF_THE_FILE = (
    rb"(?:xmpNote:HasExtendedXMP|xmp:Thumbnails|Container:Directory|GCamera:M(?:otionPhoto|icroVideo)\w*|hdrgm:\w+)"
)
_GPS = rb"[\w.-]+:[Gg][Pp][Ss][\w.-]*"


def orientation_of(xmp: bytes | None) -> int | None:
    """Return the orientation (1 to 8) that a packet states; None if it states none."""
    found = re.search(_ORIENTATION + rb"""(?:\s*=\s*["']|\s*>\s*)([1-8])\s*["'<]""", xmp or b"")
    return int(found[1]) if found else None


def may_have_gps(xmp: bytes | None) -> bool:
    """Return whether a packet may state a position on Earth, itself or in what it refers to."""
    if not xmp:
        return False
    try:
        _check(xmp)
    except MalformedError:
        return True
    return positions.mentioned(xmp) or re.search(_OF_THE_FILE, xmp) is not None


def adjusted(xmp: bytes, *, orientation: int, size: tuple[int, int], gps: bool) -> bytes:
    """
    Return a packet for another image: with its orientation and size, and without what describes another file.

    :param orientation: of the other image, 1 to 8.
    :param size: its width and height in pixels; they replace what is stated, and are not added.
    :param gps: keep positions on Earth.
    :raises MalformedError: the packet is not XML in UTF-8.
    """
    _check(xmp)
    for name, value in ((_ORIENTATION, orientation), (_WIDTH, size[0]), (_HEIGHT, size[1])):
        xmp = _with_value(xmp, name, value)
    for name in (_OF_THE_FILE, *(() if gps else (_GPS,))):
        xmp = _without(xmp, name)
    _check(xmp)
    return xmp


def _with_value(xmp: bytes, name: bytes, value: int) -> bytes:
    pattern = rb"""(\b%s(?:\s*=\s*["']|\s*>))[^"'<>]*(?=["'<])""" % name
    return re.sub(pattern, lambda found: found[1] + b"%d" % value, xmp)


def _without(xmp: bytes, name: bytes) -> bytes:
    """Return the packet without these attributes and elements."""
    xmp = re.sub(rb"""\s%s\s*=\s*(?:"[^"]*"|'[^']*')""" % name, b"", xmp)
    xmp = re.sub(rb"<%s\b[^<>]*/>" % name, b"", xmp)
    return re.sub(rb"<(?P<name>%s)\b[^<>]*(?<!/)>.*?</(?P=name)\s*>" % name, b"", xmp, flags=re.DOTALL)


def _check(xmp: bytes) -> None:
    """Raise MalformedError if a packet is not XML in UTF-8, or hides tags in comments, sections or instructions."""
    if b"<!" in xmp or xmp.count(b"<?") != len(re.findall(rb"<\?[^<>]*\?>", xmp)):
        raise MalformedError("it has declarations, comments or sections, which XMP does not need")
    try:
        xmp.decode("utf-8")
        expat.ParserCreate("utf-8").ParseFile(io.BytesIO(xmp.rstrip(b"\0")))
    except (UnicodeDecodeError, expat.ExpatError) as error:
        raise MalformedError(f"it is not XML ({error})") from error
