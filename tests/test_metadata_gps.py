"""No position on Earth is stored unless ``keep_metadata="all"``, wherever an output has it."""

from __future__ import annotations

import io
import itertools
import re
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from airflow_provider_segmind.storage.metadata import xmp
from tests.image_metadata import (
    FORMATS,
    MAKER,
    P3,
    PLACE,
    camera_exif,
    copied,
    encoded,
    opened,
    photo,
    pixels,
    png_chunk,
    with_chunks,
    with_segment,
    xmp_packet,
)

EXIF, CLEAN = camera_exif(1), camera_exif(1, gps=False)
XMP = xmp_packet('<e:GPSLatitude xmlns:e="http://ns.adobe.com/exif/1.0/">52 degrees north</e:GPSLatitude>')
SEGMENT = b"Exif\0\0"
XMP_SEGMENT, XMP_EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP = b"Photoshop 3.0\0"
TOO_LARGE = bytes(17 * 1024**2)
BASE = {form: encoded(photo(), form, icc_profile=P3) for form in FORMATS}


def of_jpeg(*segments: tuple[int, bytes], after: bytes = b"") -> bytes:
    jpeg = BASE["JPEG"]
    for marker, content in reversed(segments):
        jpeg = with_segment(jpeg, marker, content)
    return jpeg + after


def of_png(*chunks: tuple[bytes, bytes], after: bytes = b"") -> bytes:
    png = BASE["PNG"]
    return png[:33] + b"".join(png_chunk(name, content) for name, content in chunks) + png[33:] + after


def of_webp(*chunks: tuple[bytes, bytes], after: bytes = b"") -> bytes:
    added = b"".join(
        name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2) for name, content in chunks
    )
    body = bytearray(BASE["WEBP"][12:] + added)
    body[8] |= 0x0C
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + bytes(body) + after


def unpadded(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP whose last chunk has an odd length and no padding, as some writers do."""
    webp = of_webp(*chunks)[:-1]
    return webp[:4] + struct.pack("<I", len(webp) - 8) + webp[8:]


def raw_profile(name: bytes, content: bytes) -> bytes:
    return b"Raw profile type %s\0\n%s\n%8d\n%s\n" % (name, name.lower(), len(content), content.hex().encode())


def zipped(text: bytes) -> bytes:
    keyword, _, rest = text.partition(b"\0")
    return keyword + b"\0\0" + zlib.compress(rest)


def itxt(name: bytes, text: bytes) -> bytes:
    return name + b"\0\x01\0\0\0" + zlib.compress(text)


def mpo() -> bytes:
    file = io.BytesIO()
    second = photo().rotate(180)
    second.encoderinfo = {"exif": SEGMENT + EXIF}
    photo().save(file, "MPO", save_all=True, append_images=[second], icc_profile=P3)
    return file.getvalue()


def between_scans() -> bytes:
    """A progressive JPEG with EXIF before its second scan."""
    jpeg = encoded(photo(), "JPEG", progressive=True)
    at = jpeg.index(b"\xff\xda", jpeg.index(b"\xff\xda") + 2)
    at = min(at, jpeg.index(b"\xff\xc4", jpeg.index(b"\xff\xda")))
    return jpeg[:at] + with_segment(b"\xff\xd8", 0xE1, SEGMENT + EXIF)[2:] + jpeg[at:]


def pointing(tag: int) -> bytes:
    """A block whose first directory has no GPS, and points to one that does by another tag."""
    return EXIF.replace(struct.pack("<HHI", 0x8825, 4, 1), struct.pack("<HHI", tag, 13, 1))


def thumbnail_in_main() -> bytes:
    """A block whose first directory points to bytes as if they were a thumbnail."""
    rows = struct.pack("<HHIIHHII", 0x0201, 4, 1, 38, 0x0202, 4, 1, len(PLACE))
    return b"II*\0\x08\0\0\0\2\0" + rows + bytes(4) + PLACE


CREDENTIALS = [(0xEB, b"JP" + bytes(14) + b"c2pa exif:G"), (0xEB, b"JP" + bytes(14) + b"PSLatitude " + PLACE)]
WHERE: dict[str, Callable[[], bytes]] = {
    "jpeg: exif": lambda: of_jpeg((0xE1, SEGMENT + EXIF)),
    "jpeg: a second exif": lambda: of_jpeg((0xE1, SEGMENT + CLEAN), (0xE1, SEGMENT + EXIF)),
    "jpeg: exif that is cut": lambda: of_jpeg((0xE1, SEGMENT + EXIF[:-90])),
    "jpeg: exif of an odd name": lambda: of_jpeg((0xE1, b"Exif\0\xff" + EXIF)),
    "jpeg: exif of another kind": lambda: of_jpeg((0xE4, SEGMENT + EXIF)),
    "jpeg: exif between scans": between_scans,
    "jpeg: a directory of another tag": lambda: of_jpeg((0xE1, SEGMENT + pointing(0xC000))),
    "jpeg: further directories": lambda: of_jpeg((0xE1, SEGMENT + pointing(0x014A))),
    "jpeg: a count of zero": lambda: of_jpeg((0xE1, SEGMENT + EXIF.replace(b"\x25\x88\4\0\1", b"\x25\x88\4\0\0"))),
    "jpeg: a directory that nothing points to": lambda: of_jpeg((0xE1, SEGMENT + CLEAN + PLACE)),
    "jpeg: xmp in exif": lambda: of_jpeg((0xE1, SEGMENT + CLEAN + XMP)),
    "jpeg: xmp": lambda: of_jpeg((0xE1, XMP_SEGMENT + XMP)),
    "jpeg: a second xmp": lambda: of_jpeg((0xE1, XMP_SEGMENT + xmp_packet()), (0xE1, XMP_SEGMENT + XMP)),
    "jpeg: xmp in utf-16": lambda: of_jpeg((0xE1, XMP_SEGMENT + XMP.decode().encode("utf-16"))),
    "jpeg: extended xmp": lambda: of_jpeg((0xE1, XMP_SEGMENT + xmp_packet()), (0xE1, XMP_EXTENSION + bytes(40) + XMP)),
    "jpeg: comment": lambda: of_jpeg((0xFE, b"gpslatitude=" + PLACE)),
    "jpeg: exif in photoshop's": lambda: of_jpeg((0xED, PHOTOSHOP + b"8BIM\x04\x22\0\0" + EXIF)),
    "jpeg: photoshop's, continued": lambda: of_jpeg(
        (0xED, PHOTOSHOP + b"8BIM\x04\x22\0\0" + EXIF[:30]), (0xED, PHOTOSHOP + EXIF[30:])
    ),
    "jpeg: another kind of photoshop's": lambda: of_jpeg((0xED, PLACE)),
    "jpeg: a thumbnail in the first directory": lambda: of_jpeg((0xE1, SEGMENT + thumbnail_in_main())),
    "jpeg: content credentials": lambda: of_jpeg(*CREDENTIALS),
    "jpeg: content credentials, compressed": lambda: of_jpeg((0xEB, b"JP" + bytes(14) + b"brob" + PLACE)),
    "jpeg: the second image": mpo,
    "jpeg: after the end": lambda: of_jpeg(after=b"GPS " + PLACE),
    "png: exif": lambda: of_png((b"eXIf", EXIF)),
    "png: a second exif": lambda: of_png((b"eXIf", EXIF), (b"eXIf", CLEAN)),
    "png: exif above the limit": lambda: of_png((b"eXIf", EXIF + TOO_LARGE)),
    "png: exif not copied": lambda: of_png((b"eXIf", EXIF + TOO_LARGE[: 2 * 1024**2])),
    "png: raw profile exif": lambda: of_png((b"zTXt", zipped(raw_profile(b"exif", EXIF)))),
    "png: raw profile APP1": lambda: of_png((b"zTXt", zipped(raw_profile(b"APP1", SEGMENT + EXIF)))),
    "png: raw profile app1, not compressed": lambda: of_png((b"tEXt", raw_profile(b"app1", SEGMENT + EXIF))),
    "png: raw profile xmp": lambda: of_png((b"tEXt", raw_profile(b"xmp", XMP))),
    "png: raw profile, other case": lambda: of_png((b"tEXt", b"R" + raw_profile(b"8bim", EXIF)[1:].upper())),
    "png: text": lambda: of_png((b"tEXt", b"exif:GPSLatitude\0" + PLACE)),
    "png: text, compressed": lambda: of_png((b"zTXt", zipped(b"notes\0gpsLatitude=" + PLACE))),
    "png: international text": lambda: of_png((b"iTXt", itxt(b"notes", b"GpsLatitude=" + PLACE))),
    "png: international text, odd flag": lambda: of_png(
        (b"iTXt", itxt(b"notes", b"GPS" + PLACE).replace(b"\x01", b"\x02", 1))
    ),
    "png: xmp": lambda: of_png((b"iTXt", itxt(b"XML:com.adobe.xmp", XMP))),
    "png: a second xmp": lambda: of_png(
        (b"iTXt", itxt(b"XML:com.adobe.xmp", xmp_packet())), (b"iTXt", itxt(b"XML:com.adobe.xmp", XMP))
    ),
    "png: an unknown chunk": lambda: of_png((b"exIF", EXIF)),
    "png: content credentials": lambda: of_png((b"caBX", b"exif:GPSLatitude" + PLACE)),
    "png: after the end": lambda: of_png(after=b"GPS" + PLACE),
    "webp: exif": lambda: of_webp((b"EXIF", EXIF)),
    "webp: a second exif": lambda: of_webp((b"EXIF", CLEAN), (b"EXIF", SEGMENT + EXIF)),
    "webp: exif above the limit": lambda: of_webp((b"EXIF", EXIF + TOO_LARGE)),
    "webp: exif not copied": lambda: of_webp((b"EXIF", EXIF + TOO_LARGE[: 2 * 1024**2])),
    "webp: xmp": lambda: of_webp((b"XMP ", XMP)),
    "webp: a second xmp": lambda: of_webp((b"XMP ", xmp_packet()), (b"XMP ", XMP)),
    "webp: an unknown chunk": lambda: of_webp((b"Exif", EXIF)),
    "webp: after the end": lambda: of_webp(after=b"GPS" + PLACE),
}


def everything_in(content: bytes) -> bytes:
    """The bytes of a file, also those of its compressed texts, of hexadecimals in them, and of UTF-16."""
    found = [content]
    for start in re.finditer(b"\x78\x9c", content):
        try:
            found.append(zlib.decompressobj().decompress(content[start.start() :], 1024**2))
        except zlib.error:
            continue
    texts = b"".join(found)
    lines = [line for line in texts.split(b"\n") if len(line) > 40 and line.isalnum()]
    for line in lines:
        try:
            found.append(bytes.fromhex(line.decode()))
        except ValueError:
            continue
    return b"".join(found) + texts.replace(b"\0", b"")


@pytest.mark.parametrize("keep", ["none", "icc"])
@pytest.mark.parametrize("where", WHERE)
def test_a_position_is_not_stored(where, keep):
    output = WHERE[where]()
    assert PLACE in everything_in(output) or "cut" in where
    written, stored = copied(BASE["PNG"], output, keep)
    assert written
    assert PLACE not in everything_in(stored)
    assert b"gps" not in everything_in(stored).lower()
    assert pixels(stored) == pixels(output)
    assert opened(stored).info.get("icc_profile") == (P3 if "scans" not in where or keep == "icc" else None)
    assert copied(BASE["PNG"], stored, keep)[0] == ()  # nothing is left to remove


@pytest.mark.parametrize("where", WHERE)
def test_all_keeps_the_position(where):
    output = WHERE[where]()
    _, stored = copied(encoded(photo(), "PNG"), output, "all")
    assert stored == output


@pytest.mark.parametrize("keep", ["none", "icc", "all"])
def test_what_has_no_position_stays_as_it_is(keep):
    clean = [(0xE1, SEGMENT + CLEAN), (0xE1, XMP_SEGMENT + xmp_packet()), (0xFE, b"a cat"), (0xEB, b"JP c2pa")]
    iptc = PHOTOSHOP + b"8BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x78\0\x03Cat"
    texts = [(b"tEXt", b"prompt\0a cat"), (b"zTXt", zipped(b"workflow\0{}")), (b"iTXt", itxt(b"title", b"Chelsea"))]
    for output in (
        of_jpeg(*clean, (0xED, iptc)),
        of_png(*texts, (b"eXIf", CLEAN), (b"pHYs", bytes(9)), (b"caBX", b"c2pa")),
        of_png((b"zTXt", zipped(raw_profile(b"exif", CLEAN))), (b"iTXt", itxt(b"XML:com.adobe.xmp", xmp_packet()))),
        of_webp((b"EXIF", CLEAN), (b"XMP ", xmp_packet()), (b"C2PA", b"c2pa")),
    ):
        assert copied(BASE["PNG"], output, keep) == ((), output)


def test_only_the_part_with_the_position_is_removed():
    _, stored = copied(BASE["PNG"], WHERE["jpeg: a second exif"](), "none")
    assert stored == of_jpeg((0xE1, SEGMENT + CLEAN))
    _, stored = copied(BASE["PNG"], of_png((b"tEXt", b"prompt\0a cat"), (b"tEXt", b"GPS\0x")), "none")
    assert stored == of_png((b"tEXt", b"prompt\0a cat"))
    _, stored = copied(BASE["PNG"], WHERE["webp: exif above the limit"](), "none")
    assert stored[20] & 0x08 == 0  # the flag of EXIF
    _, stored = copied(BASE["PNG"], WHERE["jpeg: xmp"](), "none")
    assert b"Chelsea" in opened(stored).info["xmp"]
    _, stored = copied(BASE["PNG"], WHERE["jpeg: exif"](), "none")
    assert opened(stored).getexif().get_ifd(0x8769)[0x927C] == MAKER


@pytest.mark.parametrize("upright", [True, False])
def test_the_orientation_stays_where_the_block_is_removed(upright):
    block = camera_exif(6).replace(b"Camera Maker", b"Maker of GPS")
    _, stored = copied(encoded(photo(), "JPEG", exif=block), of_jpeg((0xE1, SEGMENT + block)), upright=upright)
    assert dict(opened(stored).getexif()) == ({} if upright else {0x0112: 6})


def test_an_mpo_becomes_a_jpeg_of_its_first_image():
    with Image.open(io.BytesIO(mpo())) as image:
        assert (image.format, image.n_frames) == ("MPO", 2)
    written, stored = copied(BASE["PNG"], mpo())
    assert written == ("gps",)
    assert opened(stored).format == "JPEG"
    assert stored.endswith(b"\xff\xd9")
    assert pixels(stored) == pixels(mpo())


@pytest.mark.parametrize("prefix", ["exif", "e", "drone-dji"])
def test_a_position_in_xmp_has_any_prefix(prefix):
    packet = xmp_packet(
        f'<{prefix}:GpsLatitude rdf:x="">1</{prefix}:GpsLatitude>', f'xmlns:drone-dji="x" xmlns:e="y" {prefix}:GPSx="2"'
    )
    after = xmp.adjusted(packet, orientation=1, size=(1, 1), gps=False)
    assert not xmp.may_have_gps(after)
    assert b"Chelsea" in after


def test_bombs_and_long_words_take_little_time_and_memory():
    packer = zlib.compressobj(9)
    bomb = b"x\0\0" + b"".join([*(packer.compress(bytes(1024**2)) for _ in range(100)), packer.flush()])
    outputs = [of_png(*[(b"zTXt", bomb)] * 60), of_png(*[(b"tEXt", b"GPS %d\0" % number) for number in range(20_000)])]
    words = (
        " x:GPS" + "GPS" * 20_000,
        " ".join(["a:b"] * 20_000),
        "x:" * 30_000,
        "<e:GPSa>" * 3000 + "</e:GPSa>" * 3000,
    )
    outputs += [of_png((b"iTXt", itxt(b"XML:com.adobe.xmp", xmp_packet(word, 'xmlns:e="e"')))) for word in words]
    started = time.process_time()
    tracemalloc.start()
    try:
        for output in outputs:
            copied(BASE["PNG"], output)
        assert tracemalloc.get_traced_memory()[1] < 100 * 1024**2
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 20


def test_exif_before_a_chunk_without_padding():
    _, stored = copied(BASE["PNG"], unpadded((b"EXIF", EXIF), (b"XMP ", xmp_packet())), "none")
    assert PLACE not in stored
    assert pixels(stored) == pixels(BASE["WEBP"])
    assert opened(stored).info["xmp"] == xmp_packet()


def test_exif_with_a_wrong_checksum():
    output = of_png((b"eXIf", EXIF))
    at = output.index(EXIF) + len(EXIF)
    _, stored = copied(BASE["PNG"], output[:at] + b"\0\0\0\0" + output[at + 4 :], "none")
    assert stored == BASE["PNG"]


def test_no_changed_byte_of_a_block_hides_the_position():
    kept = []
    for at, flip in itertools.product(range(len(EXIF)), (0x01, 0x80, 0xFF)):
        changed = EXIF[:at] + bytes((EXIF[at] ^ flip,)) + EXIF[at + 1 :]
        _, stored = copied(BASE["PNG"], with_chunks(BASE["PNG"], {b"eXIf": changed}), "none")
        if PLACE in stored:
            kept.append(at)
    assert kept == []
