"""EXIF and XMP of a stored image fit it: orientation, size, thumbnail, GPS; the rest stays."""

from __future__ import annotations

import itertools
import struct
import time
import tracemalloc

import pytest
from PIL import Image, ImageOps, PngImagePlugin

from airflow_provider_segmind.storage.metadata import exif, xmp
from tests.image_metadata import (
    FORMATS,
    MAKER,
    P3,
    PLACE,
    THUMBNAIL,
    camera_exif,
    copied,
    encoded,
    opened,
    photo,
    pixels,
    with_chunks,
    xmp_packet,
)

ORIENTATION = 0x0112
ORIENTATIONS = range(1, 9)


def shown(content: bytes) -> Image.Image:
    """An image as viewers show it: turned by its orientation."""
    return ImageOps.exif_transpose(opened(content))


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """An image as it is shown if it states this orientation."""
    stated = image.copy()
    stated.getexif()[ORIENTATION] = orientation
    return ImageOps.exif_transpose(stated)


# --- orientation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("upright", [True, False], ids=["upright", "as stored"])
@pytest.mark.parametrize(("source", "output"), [("JPEG", "JPEG"), ("PNG", "WEBP"), ("WEBP", "PNG")])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("keep", ["icc", "all"])
@pytest.mark.parametrize("copies", [True, False], ids=["model copies EXIF", "model drops EXIF"])
def test_an_image_is_shown_as_its_input(upright, source, output, orientation, keep, copies):
    """Whether the model turns the pixels or not, and whether it copies the input's EXIF or not."""
    block = camera_exif(orientation)
    made = photo((120, 80))
    made = turned(made, orientation) if upright else made
    upscaled = encoded(made, output, **({"exif": block} if copies else {}))
    written, stored = copied(encoded(photo(), source, exif=block), upscaled, keep, upright=upright)
    assert pixels(stored) == pixels(upscaled)
    plain = opened(upscaled)
    expected = plain if upright else turned(plain, orientation)
    assert shown(stored).tobytes() == expected.tobytes()
    assert (opened(stored).getexif().get(ORIENTATION) or 1) == (1 if upright else orientation)
    assert ("exif" in written) or keep == "icc"
    assert not copies or 0x010F in opened(stored).getexif()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_with_none_an_output_keeps_what_it_states_unless_it_turns_twice(form, orientation):
    block = camera_exif(orientation, gps=False)
    source, upscaled = encoded(photo(), "JPEG", exif=block), encoded(photo((120, 80)), form, exif=block)
    assert copied(source, upscaled, "none", upright=False)[0] == ()
    assert copied(source, encoded(photo(), form), "none", upright=False)[0] == ()
    written, stored = copied(source, upscaled, "none", upright=True)
    assert written == (() if orientation == 1 else ("exif",))
    assert opened(stored).getexif()[ORIENTATION] == 1
    assert opened(stored).getexif()[0x010F] == "Camera Maker"


@pytest.mark.parametrize("form", FORMATS)
def test_the_orientation_alone_is_stated_without_anything_else_of_the_input(form):
    written, stored = copied(encoded(photo(), "JPEG", exif=camera_exif(6)), encoded(photo(), form), upright=False)
    assert written == ("orientation",)
    assert dict(opened(stored).getexif()) == {ORIENTATION: 6}
    assert MAKER not in stored


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("thumbnail", [True, False])
def test_the_orientation_is_added_to_a_block_that_states_none(order, thumbnail):
    """The output has EXIF of its own, without the orientation of the input."""
    own = camera_exif(None, order, thumbnail=thumbnail)
    written, stored = copied(
        encoded(photo(), "PNG", exif=camera_exif(8)), encoded(photo(), "JPEG", exif=own), upright=False
    )
    assert written == ("exif",)
    found = opened(stored).getexif()
    assert found[ORIENTATION] == 8
    assert found[0x010F] == "Camera Maker"
    assert found.get_ifd(0x8769)[0x927C] == MAKER


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("keep", ["icc", "all"])
def test_an_orientation_that_only_xmp_states(upright, keep):
    packet = xmp_packet(attributes='tiff:Orientation="6"')
    upscaled = encoded(turned(photo(), 6) if upright else photo(), "JPEG", xmp=packet)
    _, stored = copied(encoded(photo(), "JPEG", xmp=packet), upscaled, keep, upright=upright)
    assert xmp.orientation_of(opened(stored).info["xmp"]) == (1 if upright else 6)
    assert shown(stored).size == (40, 60)


# --- the rest of a block ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("thumbnail", [True, False])
def test_a_block_is_adjusted_in_place(order, form, thumbnail):
    block = camera_exif(6, order, thumbnail=thumbnail)
    _, stored = copied(encoded(photo(), "WEBP", exif=block), encoded(photo((120, 80)), form), "all")
    found = opened(stored).getexif()
    camera = found.get_ifd(0x8769)
    assert found[0x010F] == "Camera Maker"
    assert camera[0x9003] == "2024:05:06 07:08:09"
    assert (camera[0xA002], camera[0xA003]) == (120, 80)
    assert camera[0x927C] == MAKER
    assert found.get_ifd(0x8825) == {1: "N", 0x1D: PLACE.decode()}
    assert found.get_ifd(0xA005)[1] == "R98"
    assert found.get_ifd(0xA005)[0x1001] == 120
    assert not found.get_ifd(1)  # the directory of the thumbnail
    assert THUMBNAIL not in stored
    after = exif.adjusted(block, orientation=1, size=(120, 80), gps=True)
    assert after.index(MAKER) == block.index(MAKER)  # a note contains positions
    assert len(after) < len(block) or not thumbnail


@pytest.mark.parametrize("keep", ["none", "icc", "all"])
@pytest.mark.parametrize("form", FORMATS)
def test_gps_is_kept_with_all_only(keep, form):
    """Of the input, and of an output to which the model copied it, in EXIF and in XMP."""
    packet = xmp_packet('<exif:GPSLongitude rdf:x="">13,24E</exif:GPSLongitude>', 'exif:GPSLatitude="52,30N"')
    blocks = {"exif": camera_exif(1), **({} if form == "PNG" else {"xmp": packet})}
    for own in ({}, blocks):
        _, stored = copied(
            encoded(photo(), "JPEG", exif=camera_exif(1), xmp=packet), encoded(photo(), form, **own), keep
        )
        assert (PLACE in stored) is (keep == "all")
        assert (0x8825 in opened(stored).getexif()) is (keep == "all")
        assert (b"GPSL" in stored) is (keep == "all")
        assert pixels(stored) == pixels(encoded(photo(), form))
        if own and keep != "all":
            assert opened(stored).getexif()[0x010F] == "Camera Maker"
            assert opened(stored).getexif().get_ifd(0x8769)[0x927C] == MAKER


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize(
    "block",
    [
        camera_exif()[:100],
        camera_exif()[:-120],
        camera_exif()[:4] + b"\xff" * 4 + camera_exif()[8:],
        camera_exif()[:4] + bytes(4) + camera_exif()[8:],
        b"II*\0\x08\0\0\0\xff\xff",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0",  # without the position of a next directory
        b"not EXIF",
    ],
)
def test_damaged_exif_is_not_copied_and_the_orientation_is_kept_where_it_can_be_read(block, upright, caplog):
    source = with_chunks(encoded(photo(), "PNG"), {b"eXIf": block})
    stated = exif.orientation_of(block) or 1
    for form in FORMATS:
        upscaled = encoded(photo(), form)
        _, stored = copied(source, upscaled, "all", upright=upright)
        assert pixels(stored) == pixels(upscaled)
        assert (opened(stored).getexif().get(ORIENTATION) or 1) == (1 if upright else stated)
        assert MAKER not in stored


def test_an_output_with_damaged_exif_does_not_turn_twice():
    block = b"MM\0*" + struct.pack(">IH HHIHH HHII I", 8, 2, ORIENTATION, 3, 1, 6, 0, 0x9999, 2, 100, 5000, 0)
    cut = with_chunks(encoded(photo(), "PNG"), {b"eXIf": block})
    assert shown(cut).size == (40, 60)
    written, stored = copied(encoded(photo(), "PNG"), cut, "none")
    assert written == ("orientation",)
    assert shown(stored).size == (60, 40)


def test_every_changed_byte_of_a_block_is_tolerated():
    block = camera_exif(6)
    for at, flip in itertools.product(range(len(block)), (0x01, 0x80, 0xFF)):
        changed = block[:at] + bytes((block[at] ^ flip,)) + block[at + 1 :]
        try:
            after = exif.adjusted(changed, orientation=3, size=(1, 2), gps=False)
        except exif.MalformedError:
            continue
        assert exif.orientation_of(after) == 3
        assert not exif.may_have_gps(after)


def test_positions_of_an_odd_type_are_read():
    """As some cameras write them: the position of a directory with the type and the length of its content."""
    block = bytearray(camera_exif(6, ">"))
    camera, gps = (block.rindex(struct.pack(">H", tag)) for tag in (0x8769, 0x8825))
    block[camera + 2 : camera + 8] = struct.pack(">HI", 2, 90)
    block[gps + 4 : gps + 8] = bytes(4)
    written, stored = copied(
        with_chunks(encoded(photo(), "PNG"), {b"eXIf": bytes(block)}), encoded(photo(), "JPEG"), "all"
    )
    assert written == ("exif",)
    after = exif.adjusted(bytes(block), orientation=1, size=(120, 80), gps=True)
    assert after.index(MAKER) == block.index(MAKER)
    assert struct.pack(">HHII", 0xA002, 4, 1, 120) in after  # the directory was found
    assert MAKER in stored
    assert not exif.may_have_gps(exif.adjusted(bytes(block), orientation=1, size=(1, 1), gps=False))


def test_a_block_that_is_too_large_for_a_jpeg(caplog):
    large = camera_exif(6, thumbnail=False) + b"maker" * 20_000
    source = with_chunks(encoded(photo(), "PNG"), {b"eXIf": large})
    assert copied(source, encoded(photo(), "PNG"), "all")[0] == ("exif",)
    written, stored = copied(source, encoded(photo(), "JPEG"), "all", upright=False)
    assert written == ("orientation",)
    assert opened(stored).getexif()[ORIENTATION] == 6
    assert "its limit is" in caplog.text


def test_exif_as_imagemagick_wrote_it_into_png():
    text = PngImagePlugin.PngInfo()
    block = b"Exif\0\0" + camera_exif(6)
    text.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n", zip=True)
    source = encoded(photo(), "PNG", pnginfo=text)
    assert shown(source).size == (40, 60)
    _, stored = copied(source, encoded(photo(), "JPEG"), "all")
    assert opened(stored).getexif()[0x010F] == "Camera Maker"
    assert copied(source, encoded(photo(), "JPEG"), upright=False)[0] == ("orientation",)
    _, stored = copied(encoded(photo(), "JPEG"), source, "none")  # as an output
    assert shown(stored).size == (60, 40)


def test_a_block_whose_values_overlap_takes_no_memory():
    """Thousands of entries, each with almost all of the block as its value."""
    count = 40_000
    rows = b"".join(struct.pack("<HHII", number, 1, 500_000, 480_100) for number in range(count))
    block = (b"II*\0\x08\0\0\0" + struct.pack("<H", count) + rows).ljust(1_000_000, b"\x01")
    started = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(exif.MalformedError, match="overlap"):
            exif.adjusted(block, orientation=1, size=(1, 1), gps=False)
        assert tracemalloc.get_traced_memory()[1] < 30 * 1024**2
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 5


# --- XMP --------------------------------------------------------------------------------------------------------------


def test_xmp_is_adjusted():
    packet = xmp_packet(
        "<tiff:Orientation>6</tiff:Orientation><Container:Directory><rdf:Seq><rdf:li/></rdf:Seq></Container:Directory>"
        "<exif:PixelYDimension>3000</exif:PixelYDimension>",
        'exif:PixelXDimension=\'4000\' xmpNote:HasExtendedXMP="0123" GCamera:MotionPhoto="1"',
    )
    after = xmp.adjusted(packet, orientation=1, size=(120, 80), gps=True)
    assert b"<tiff:Orientation>1</tiff:Orientation>" in after
    assert b"exif:PixelXDimension='120'" in after
    assert b"<exif:PixelYDimension>80<" in after
    for other in (b"Container:Directory", b"MotionPhoto", b"HasExtendedXMP"):
        assert other not in after
    assert "Chelsea \N{CAT FACE}".encode() in after


@pytest.mark.parametrize(
    "packet",
    [
        xmp_packet()[:-60],
        xmp_packet().decode().encode("utf-16"),
        xmp_packet().replace(b"Chelsea", b"\xff"),
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>' + xmp_packet(),
        xmp_packet("<!-- " + "<exif:GPSx>" * 90_000 + " -->"),
        xmp_packet("<?x " + "<exif:GPSx>" * 90_000 + " ?>"),
        xmp_packet("<exif:GPSx>" * 50_000 + "</exif:GPSx>" * 50_000),
    ],
)
def test_damaged_or_absurd_xmp_is_not_copied(packet):
    started = time.process_time()
    for upright in (True, False):
        source = encoded(photo(), "WEBP", xmp=packet)
        assert copied(source, encoded(photo(), "WEBP", xmp=packet), "icc", upright=upright)[1].count(b"GPS") in (
            0,
            180_000,
        )
        with pytest.raises(xmp.MalformedError):
            xmp.adjusted(packet, orientation=1, size=(1, 1), gps=False)
    assert time.process_time() - started < 5


def test_a_packet_that_is_too_large_for_a_jpeg(caplog):
    source = encoded(photo(), "WEBP", xmp=xmp_packet(" " * 70_000), icc_profile=P3)
    assert copied(source, encoded(photo(), "JPEG"), "all")[0] == ("icc",)
    assert copied(source, encoded(photo(), "PNG"), "all")[0] == ("icc", "xmp")
    assert "Metadata was not copied (xmp)" in caplog.text
