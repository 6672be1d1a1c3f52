"""Images with metadata for tests: an EXIF block with all that a camera writes, profiles, and a reader by Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageCms

from airflow_provider_segmind.storage.limits import KeepMetadata
from airflow_provider_segmind.storage.metadata import copy_metadata, icc

FORMATS = ("JPEG", "PNG", "WEBP")
ADOBE_RGB: icc.Primaries = (0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
SPACES = {
    "Display P3": icc.made(b"RGB ", icc.DISPLAY_P3, icc.srgb_curve()),
    "Adobe RGB": icc.made(b"RGB ", ADOBE_RGB, icc.gamma(563 / 256)),
}
P3 = SPACES["Display P3"]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
THUMBNAIL = b"\xff\xd8\xff\xe0 a thumbnail of the input"
PLACE = b"52 degrees north"  # in the GPS directory
MAKER = b"maker\0note \x01\x02\x03 with a position that nobody may move"


def camera_exif(orientation: int | None = 6, order: str = "<", *, thumbnail: bool = True, gps: bool = True) -> bytes:
    """An EXIF block with make, orientation, sizes, a maker's note, GPS, and a thumbnail in a second directory."""
    tables: dict[str, list[tuple[int, int, int, bytes]]] = {
        "interop": [(1, 2, 4, b"R98\0"), (0x1001, 4, 1, struct.pack(order + "I", 4000))],
        "exif": [
            (0x9003, 2, 20, b"2024:05:06 07:08:09\0"),
            (0x927C, 7, len(MAKER), MAKER),
            (0xA002, 3, 1, struct.pack(order + "H", 4000)),
            (0xA003, 4, 1, struct.pack(order + "I", 3000)),
            (0xA005, 4, 1, b"interop"),
        ],
        "gps": [(1, 2, 2, b"N\0"), (0x1D, 2, len(PLACE), PLACE)],
        "main": [
            (0x010F, 2, 13, b"Camera Maker\0"),
            *([(0x0112, 3, 1, struct.pack(order + "H", orientation))] if orientation else []),
            (0x8769, 4, 1, b"exif"),
            *([(0x8825, 4, 1, b"gps")] if gps else []),
        ],
        "thumbnail": [(0x0201, 4, 1, b"jpeg"), (0x0202, 4, 1, struct.pack(order + "I", len(THUMBNAIL)))],
    }
    places, body = {}, b""
    for name, rows in tables.items():
        if not {"thumbnail": thumbnail, "gps": gps}.get(name, True):
            continue
        if name == "thumbnail":
            places["jpeg"] = 8 + len(body) + 2 + 12 * len(rows) + 4
        table, values = struct.pack(order + "H", len(rows)), b""
        after = 8 + len(body) + 2 + 12 * len(rows) + 4
        for tag, kind, count, value in rows:
            if value.decode("latin-1") in places:
                value = struct.pack(order + "I", places[value.decode()])
            if len(value) > 4:
                value, values = struct.pack(order + "I", after + len(values)), values + value + bytes(len(value) % 2)
            table += struct.pack(order + "HHI", tag, kind, count) + value.ljust(4, b"\0")
        places[name] = 8 + len(body)
        following = after + len(values) if name == "main" and thumbnail else 0
        body += table + struct.pack(order + "I", following) + values
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", places["main"])
    return head + body + (THUMBNAIL if thumbnail else b"")


def xmp_packet(inner: str = "", attributes: str = "") -> bytes:
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        ' xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmpNote="http://ns.adobe.com/xmp/note/"'
        ' xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"'
        ' xmlns:Container="http://ns.google.com/photos/1.0/container/"'
        f" {attributes}>{inner}<dc:title>Chelsea \N{CAT FACE}</dc:title></rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="w"?>'
    ).encode()


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """An image file; metadata only as given."""
    image = image.copy()
    image.info.clear()
    if "exif" in options and form != "PNG":
        options["exif"] = b"Exif\0\0" + options["exif"]
    file = io.BytesIO()
    image.save(file, form, **({"lossless": True} if form == "WEBP" else {}), **options)
    return file.getvalue()


def photo(size: tuple[int, int] = (60, 40), mode: str = "RGB") -> Image.Image:
    """A gradient: each pixel of a row or column is different."""
    bands = [Image.linear_gradient("L").rotate(90 * turn).resize(size) for turn in range(4)]
    return Image.merge("RGBA", bands).convert(mode)


def copied(
    source: bytes, output: bytes, keep: KeepMetadata = "icc", *, upright: bool = True
) -> tuple[tuple[str, ...], bytes]:
    """What was written, and the object to store."""
    target = io.BytesIO()
    written = copy_metadata(io.BytesIO(source), io.BytesIO(output), target, keep=keep, upright=upright)
    assert bool(written) == bool(target.getvalue())
    return written, target.getvalue() or output


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def pixels(content: bytes) -> tuple[str, tuple[int, int], bytes]:
    image = opened(content)
    return image.mode, image.size, image.tobytes()


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_chunks(png: bytes, chunks: Mapping[bytes, bytes]) -> bytes:
    """A PNG with further chunks after its header."""
    return png[:33] + b"".join(png_chunk(name, content) for name, content in chunks.items()) + png[33:]


def with_segment(jpeg: bytes, marker: int, content: bytes) -> bytes:
    """A JPEG with a further segment at its beginning."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + jpeg[2:]
