"""The metadata of an input reaches the stored object, and the pixels stay as they are: through Pillow's decoders."""

from __future__ import annotations

import io
import itertools
import logging
import os
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest
from PIL import IptcImagePlugin, PngImagePlugin

from airflow_provider_segmind.storage.metadata import copy_metadata, icc
from tests.image_metadata import (
    ADOBE_RGB,
    FORMATS,
    P3,
    SRGB,
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

IMAGES = Path(__file__).parent / "images"
PAIRS = list(itertools.product(FORMATS, FORMATS))


@pytest.mark.parametrize(("source", "output"), PAIRS)
def test_each_pair_of_formats_keeps_pixels_and_profile(source, output):
    upscaled = encoded(photo((120, 80)), output)
    written, stored = copied(encoded(photo(), source, icc_profile=P3), upscaled)
    assert written == ("icc",)
    assert pixels(stored) == pixels(upscaled)
    assert opened(stored).info["icc_profile"] == P3
    assert opened(stored).format == output


@pytest.mark.parametrize(("source", "output"), PAIRS)
def test_each_pair_of_formats_keeps_all(source, output):
    upscaled = encoded(photo((120, 80)), output)
    options = {"exif": camera_exif(1), "icc_profile": P3}
    if source != "PNG":
        options["xmp"] = xmp_packet()
    else:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp_packet().decode(), zip=True)
    written, stored = copied(encoded(photo(), source, **options), upscaled, "all")
    assert written == ("icc", "exif", "xmp")
    assert pixels(stored) == pixels(upscaled)
    image = opened(stored)
    assert image.info["icc_profile"] == P3
    assert image.getexif()[0x010F] == "Camera Maker"
    found = image.info["XML:com.adobe.xmp" if output == "PNG" else "xmp"]
    assert (found.encode() if isinstance(found, str) else found) == xmp_packet()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_each_mode_keeps_its_pixels(form, mode):
    upscaled = encoded(photo(mode="RGB" if form == "JPEG" and mode == "RGBA" else mode), form)
    _, stored = copied(encoded(photo(), "JPEG", exif=camera_exif(), icc_profile=P3), upscaled, "all")
    assert pixels(stored) == pixels(upscaled)
    assert "exif" in opened(stored).info


@pytest.mark.parametrize("options", [{"lossless": False}, {"lossless": False, "save_all": True}, {"exact": True}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_of_every_kind(options, mode):
    file = io.BytesIO()
    if options.get("save_all"):
        options = {**options, "append_images": [photo(mode=mode).rotate(90, expand=False)]}
    photo(mode=mode).save(file, "WEBP", **options)
    _, stored = copied(encoded(photo(), "PNG", icc_profile=P3, exif=camera_exif()), file.getvalue(), "all")
    before, after = opened(file.getvalue()), opened(stored)
    assert after.n_frames == before.n_frames
    for frame in range(before.n_frames):
        before.seek(frame)
        after.seek(frame)
        assert before.convert("RGBA").tobytes() == after.convert("RGBA").tobytes()
    assert after.info["icc_profile"] == P3
    assert after.getexif()[0x010F] == "Camera Maker"


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"restart_marker_rows": 1}, {"optimize": True}, {"dpi": (9, 9)}]
)
def test_jpeg_of_every_kind(options):
    upscaled = encoded(photo((120, 80)), "JPEG", **options)
    _, stored = copied(encoded(photo(), "WEBP", icc_profile=P3, exif=camera_exif()), upscaled, "all")
    assert pixels(stored) == pixels(upscaled)
    assert stored[:4] == upscaled[:4] == b"\xff\xd8\xff\xe0"  # JFIF's segment stays the first
    assert opened(stored).info["icc_profile"] == P3


@pytest.mark.parametrize("between", [b"\xff\xff\xff", b"\0\0", b"\xff\0", bytes(5000)])
def test_bytes_between_the_segments_of_a_jpeg(between):
    whole = encoded(photo(), "JPEG", icc_profile=P3, exif=camera_exif(1))
    second = 4 + int.from_bytes(whole[4:6], "big")
    odd = whole[:second] + between + whole[second:]
    assert copied(odd, encoded(photo(), "PNG"), "all")[0] == ("icc", "exif")
    _, stored = copied(encoded(photo(), "PNG", exif=camera_exif(1)), odd, "all")
    assert pixels(stored) == pixels(odd)


def test_nothing_to_copy_writes_nothing():
    for keep in ("none", "icc", "all"):
        assert copied(encoded(photo(), "JPEG"), encoded(photo(), "PNG"), keep)[0] == ()
    assert (
        copied(encoded(photo(), "JPEG", icc_profile=P3, exif=camera_exif(1)), encoded(photo(), "PNG"), "none")[0] == ()
    )


@pytest.mark.parametrize("form", FORMATS)
def test_an_output_keeps_its_own_profile(form):
    assert copied(encoded(photo(), "PNG", icc_profile=P3), encoded(photo(), form, icc_profile=SRGB))[0] == ()


@pytest.mark.parametrize("name", ["sRGB", "cICP"])
def test_chunks_of_a_png_are_a_profile_of_its_own(name):
    upscaled = with_chunks(encoded(photo(), "PNG"), {name.encode(): b"\0" if name == "sRGB" else b"\x01\x0d\0\x01"})
    assert copied(encoded(photo(), "PNG", icc_profile=P3), upscaled)[0] == ()


@pytest.mark.parametrize("size", [65_000, 65_519, 65_520, 65_521, 300_000, 1_250_000])
@pytest.mark.parametrize("output", FORMATS)
def test_a_profile_in_several_segments(size, output):
    profile = P3 + bytes(size - len(P3))
    upscaled = encoded(photo(), output)
    written, stored = copied(encoded(photo(), "JPEG", icc_profile=profile), upscaled)
    if output == "PNG" and size > 1024**2:  # Pillow would not open it
        assert written == ()
        return
    assert written == ("icc",)
    assert opened(stored).info["icc_profile"] == profile
    assert pixels(stored) == pixels(upscaled)


def test_a_profile_with_a_missing_segment_is_not_copied(caplog):
    whole = encoded(photo(), "JPEG", icc_profile=P3 + os.urandom(150_000))
    second = whole.index(b"ICC_PROFILE\0\x02") - 4
    length = 2 + int.from_bytes(whole[second + 2 : second + 4], "big")
    assert copied(whole[:second] + whole[second + length :], encoded(photo(), "PNG"))[0] == ()
    assert "pieces of it are missing" in caplog.text


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        b"not a profile" * 20,
        P3[:200],
        P3[:36] + b"nope" + P3[40:],
        P3[:12] + b"link" + P3[16:],
        P3[:128] + b"\xff" * 4 + P3[132:],
        P3[:136] + b"\xff" * 8 + P3[144:],
    ],
)
def test_a_damaged_profile_is_not_copied(profile, caplog):
    source = with_chunks(encoded(photo(), "PNG"), {b"iCCP": b"x\0\0" + zlib.compress(profile)})
    for form in FORMATS:
        assert copied(source, encoded(photo(), form))[0] == ()
    assert not profile or "Metadata was not copied (icc)" in caplog.text


@pytest.mark.parametrize("name", [b"iCCP", b"iTXt", b"zTXt"])
def test_a_bomb_is_not_unpacked(name, caplog):
    packer = zlib.compressobj(9)
    bomb = b"".join([*(packer.compress(bytes(1024**2)) for _ in range(200)), packer.flush()])
    head = {b"iCCP": b"x\0\0", b"zTXt": b"x\0\0", b"iTXt": b"XML:com.adobe.xmp\0\x01\0\0\0"}[name]
    source = with_chunks(encoded(photo(), "PNG"), {name: head + bomb})
    upscaled = encoded(photo(), "PNG")
    tracemalloc.start()
    try:
        assert copied(source, upscaled, "all")[0] == ()
        assert tracemalloc.get_traced_memory()[1] < 60 * 1024**2
    finally:
        tracemalloc.stop()
    assert "once unpacked" in caplog.text


@pytest.mark.parametrize("form", FORMATS)
def test_memory_does_not_grow_with_the_output(form, tmp_path):
    upscaled = bytearray(encoded(photo(), form))
    size, path = 200 * 1024**2, tmp_path / "output"
    with path.open("w+b") as output, (tmp_path / "target").open("w+b") as target:
        output.write(upscaled)
        if form == "PNG":
            output.seek(33)
            for _ in range(50):
                output.write(struct.pack(">I4s", size // 50, b"IDAT"))
                output.seek(size // 50 + 4, 1)
            output.write(png_chunk(b"IEND", b""))
        elif form == "WEBP":
            output.write(struct.pack("<4sI", b"XTRA", size))
            output.truncate(len(upscaled) + 8 + size)
            output.seek(4)
            output.write(struct.pack("<I", len(upscaled) + size))
        else:
            output.truncate(size)
        source = io.BytesIO(encoded(photo(), "JPEG", icc_profile=P3, exif=camera_exif()))
        tracemalloc.start()
        try:
            assert copy_metadata(source, output, target, keep="all", upright=True) == ("icc", "exif")
            assert tracemalloc.get_traced_memory()[1] < 8 * 1024**2
        finally:
            tracemalloc.stop()
        assert target.tell() > size


# --- colour spaces that do not fit ------------------------------------------------------------------------------------


def profile_of(space: bytes) -> bytes:
    return icc.made(space, icc.SRGB, icc.gamma(1.8))


@pytest.mark.parametrize("form", FORMATS)
def test_a_cmyk_profile_never_goes_onto_rgb(form, caplog):
    cmyk = P3[:16] + b"CMYK" + P3[20:]
    source = encoded(photo().convert("CMYK"), "JPEG", icc_profile=cmyk)
    assert copied(source, encoded(photo(), form))[0] == ()
    assert "describes b'CMYK' pixels" in caplog.text


@pytest.mark.parametrize(("mode", "space"), [("L", b"RGB "), ("RGB", b"GRAY")])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_the_curve_is_kept_where_grey_became_rgb_or_the_reverse(mode, space, form):
    source = encoded(photo(mode="L" if space == b"GRAY" else "RGB"), "PNG", icc_profile=profile_of(space))
    written, stored = copied(source, encoded(photo(mode=mode), form))
    assert written == ("icc",)
    profile = opened(stored).info["icc_profile"]
    assert profile == profile_of({"L": b"GRAY", "RGB": b"RGB "}[mode])


# --- chunks of a PNG --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"cICP", b"sRGB", b"gAMA"])
def test_chunks_are_copied_from_png_to_png(name):
    content = {b"cICP": b"\x09\x10\0\x01", b"sRGB": b"\0", b"gAMA": struct.pack(">I", 55_555)}[name]
    written, stored = copied(with_chunks(encoded(photo(), "PNG"), {name: content}), encoded(photo(), "PNG"))
    assert written == ("icc",)
    assert png_chunk(name, content) in stored


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ({b"cICP": b"\x0c\x0d\0\x01"}, P3),
        ({b"cICP": b"\x0c\x10\0\x01", b"iCCP": b"x\0\0" + zlib.compress(SRGB)}, SRGB),  # HDR, with a fallback
        ({b"cICP": b"\x09\x10\0\x01"}, None),
        ({b"sRGB": b"\0", b"gAMA": struct.pack(">I", 45_455)}, None),
        ({b"gAMA": struct.pack(">I", 45_455)}, None),
        ({b"gAMA": struct.pack(">I", 100_000)}, icc.made(b"RGB ", icc.SRGB, icc.gamma(1))),
        ({b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)}, None),
        (
            {
                b"gAMA": struct.pack(">I", 45_455),
                b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000),
            },
            icc.made(b"RGB ", ADOBE_RGB, icc.gamma(1 / 0.45455)),
        ),
        ({b"gAMA": b"\0\0\0\0"}, None),
        ({b"gAMA": struct.pack(">I", 45_455), b"cHRM": bytes(32)}, None),
        ({b"gAMA": struct.pack(">I", 45_455), b"cHRM": bytes(3)}, None),
    ],
)
def test_chunks_become_a_profile_in_other_formats(form, chunks, expected):
    written, stored = copied(with_chunks(encoded(photo(), "PNG"), chunks), encoded(photo(), form))
    assert written == (("icc",) if expected else ())
    assert opened(stored).info.get("icc_profile") == expected


# --- texts and IPTC ---------------------------------------------------------------------------------------------------


def test_texts_are_copied_from_png_to_png():
    texts, own = PngImagePlugin.PngInfo(), PngImagePlugin.PngInfo()
    texts.add_text("prompt", "a cat")
    texts.add_text("workflow", "{}" * 1000, zip=True)
    own.add_text("prompt", "a cat, larger")
    source = encoded(photo(), "PNG", pnginfo=texts)
    written, stored = copied(source, encoded(photo(), "PNG", pnginfo=own), "all")
    assert written == ("text",)
    assert opened(stored).text == {"prompt": "a cat, larger", "workflow": "{}" * 1000}
    assert copied(source, encoded(photo(), "JPEG"), "all")[0] == ()
    assert copied(source, encoded(photo(), "PNG"), "icc")[0] == ()


def test_many_texts_take_little_time_and_memory():
    texts = b"".join(png_chunk(b"tEXt", b"name %d\0" % number) for number in range(80_000))
    whole = encoded(photo(), "PNG")
    tracemalloc.start()
    started = time.process_time()
    try:
        _, stored = copied(whole[:33] + texts + whole[33:], encoded(photo(), "PNG"), "all")
        assert tracemalloc.get_traced_memory()[1] < 120 * 1024**2
    finally:
        tracemalloc.stop()
    assert time.process_time() - started < 20
    assert 60_000 < stored.count(b"tEXt") < 65_000


@pytest.mark.parametrize("method", ["add_text", "add_itxt"])
def test_a_long_text_is_stored_so_that_pillow_opens_the_image(method):
    text, long = PngImagePlugin.PngInfo(), "workflow " * 200_000
    getattr(text, method)("workflow", long, zip=True)
    source = encoded(photo(), "PNG", pnginfo=text)
    with pytest.raises(ValueError, match="too large"):
        opened(source)
    _, stored = copied(source, encoded(photo(), "PNG"), "all")
    assert opened(stored).text == {"workflow": long}


def test_iptc_is_copied_from_jpeg_to_jpeg():
    records = b"\x1c\x02\x78\0\x05Tabby" + b"\x1c\x02\x69\0\x03Cat"
    resources = b"8BIM\x04\x25\0\0\0\0\0\x01x\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(records)) + records
    source = with_segment(encoded(photo(), "JPEG"), 0xED, b"Photoshop 3.0\0" + resources)
    written, stored = copied(source, encoded(photo(), "JPEG"), "all")
    assert written == ("iptc",)
    assert IptcImagePlugin.getiptcinfo(opened(stored)) == {(2, 120): b"Tabby", (2, 105): b"Cat"}
    assert copied(source, encoded(photo(), "PNG"), "all")[0] == ()


# --- odd files --------------------------------------------------------------------------------------------------------


def test_an_mpo_gives_the_metadata_of_its_first_image():
    file = io.BytesIO()
    second = photo()
    photo().save(file, "MPO", save_all=True, append_images=[second], icc_profile=P3, exif=b"Exif\0\0" + camera_exif(6))
    written, stored = copied(file.getvalue(), encoded(photo((80, 120)), "JPEG"), "all")
    assert written == ("icc", "exif")
    image = opened(stored)
    assert (image.format, image.info["icc_profile"], image.getexif()[0x0112]) == ("JPEG", P3, 1)
    assert b"MPF\0" not in stored


def test_an_mpo_as_output_keeps_its_images_with_all():
    file = io.BytesIO()
    photo().save(file, "MPO", save_all=True, append_images=[photo().rotate(180)])
    _, stored = copied(encoded(photo(), "PNG", icc_profile=P3), file.getvalue(), "all")
    before, after = opened(file.getvalue()), opened(stored)
    assert after.n_frames == 2
    for frame in range(2):
        before.seek(frame)
        after.seek(frame)
        assert before.tobytes() == after.tobytes()


@pytest.mark.parametrize("content", [b"", b"RIFF", b"GIF89a" + bytes(20), b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"])
def test_other_files_are_left_alone(content, caplog):
    caplog.set_level(logging.WARNING)
    assert copied(content, encoded(photo(), "JPEG"), "all")[0] == ()
    assert "The metadata of the input was not read" in caplog.text
    assert copied(encoded(photo(), "JPEG", icc_profile=P3), content, "all")[0] == ()


@pytest.mark.parametrize("form", FORMATS)
def test_cut_and_changed_files_raise_nothing(form):
    """Every cut, and changed bytes: what is stored has the output's pixels, whatever the metadata is."""
    whole = encoded(
        photo((8, 8)), form, icc_profile=P3, exif=camera_exif(), **({} if form == "PNG" else {"xmp": xmp_packet()})
    )
    upscaled = encoded(photo((16, 16)), "PNG")
    expected = pixels(upscaled)
    ends = list(range(0, len(whole), 7))
    changed = [whole[:at] + bytes((whole[at] ^ 0xFF,)) + whole[at + 1 :] for at in range(0, len(whole), 3)]
    for source in (*(whole[:end] for end in ends), *changed):
        _, stored = copied(source, upscaled, "all", upright=False)
        assert pixels(stored) == expected
        copied(upscaled, source, "all")


def test_the_files_that_people_have():
    upscaled = encoded(photo(), "PNG")
    written = {path.name: copied(path.read_bytes(), upscaled, "all") for path in IMAGES.glob("*.*g")}
    assert written["icc_1.2MB.png"][0] == ()  # Pillow does not open a PNG with this profile
    assert written["comfy_workflow_ztxt.png"][0] == ("text",)
    assert written["phone_20x9_orient6.jpg"][0] == ("exif",)
    assert all(pixels(stored) == pixels(upscaled) for _, stored in written.values())
