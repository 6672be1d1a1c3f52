"""Metadata never decides about pixels: of any size, and damaged, it refuses no image and costs no memory."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import pytest
from PIL import Image

from airflow_provider_segmind.storage.metadata import copy_metadata
from airflow_provider_segmind.storage.preview_writer import make_preview
from airflow_provider_segmind.storage.verification import image_size, opened, orientation
from tests.image_metadata import xmp_packet
from tests.images.samples import chunk, encoded, with_jpeg_segments, with_png_chunks
from tests.source_tree import ROOT

SIZE = (75, 53)
BOMB = zlib.compress(bytes(60_000_000), 9)
PNG_METADATA = {
    "a profile of 60 MB": chunk(b"iCCP", b"icc\0\0" + BOMB),
    "a profile that does not decompress": chunk(b"iCCP", b"icc\0\0not zlib"),
    "an empty profile": chunk(b"iCCP", b""),
    "a text of 60 MB": chunk(b"zTXt", b"workflow\0\0" + BOMB),
    "an international text of 60 MB": chunk(b"iTXt", b"workflow\0\1\0en\0\0" + BOMB),
    "broken EXIF": chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff"),
    "a wrong checksum": chunk(b"tEXt", b"a\0b")[:-4] + bytes(4),
    "broken physical size, gamma and palette proposal": chunk(b"pHYs", b"1")
    + chunk(b"gAMA", b"")
    + chunk(b"sPLT", b"x"),
    "an animation without frames": chunk(b"acTL", struct.pack(">II", 9, 0)),
    "5,000 texts": b"".join(chunk(b"tEXt", b"key%d\0" % n + b"x" * 50) for n in range(5000)),
}
JPEG_METADATA = {
    "broken EXIF": [(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff")],
    "cut EXIF": [(0xE1, b"Exif\0\0II")],
    "a broken index of images": [(0xE2, b"MPF\0MM\0*\0\0\0\x08\xff\xff")],
    "a profile with missing parts": [(0xE2, b"ICC_PROFILE\0\x02\x09" + bytes(900))],
    "13 MB of extended XMP": [(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(65_000))] * 200,
    "broken Photoshop data": [(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff")],
    "an unknown JFIF version": [(0xE0, b"JFIF\0\x09\x09" + bytes(7))],
    "comments": [(0xFE, b"\xff\xd9" * 9000)] * 3,
}
WEBP_METADATA = {
    "a damaged profile": {"icc_profile": b"x" * 70_001},
    "damaged EXIF": {"exif": b"MM\0*\xff\xff\xff\xff"},
    "XMP": {"xmp": b"<" * 3_000_001},
}


def passes(content: bytes, pixels: bytes) -> None:
    file = io.BytesIO(content)
    assert image_size(file, whole=True) == SIZE
    with opened(file) as image:
        assert image.tobytes() == pixels
    assert make_preview(file, b"")[1] == SIZE


def pixels_of(content: bytes) -> bytes:
    return Image.open(io.BytesIO(content)).tobytes()


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("kind", ["png", "png-palette-alpha"])
@pytest.mark.parametrize("name", PNG_METADATA)
def test_png(name, kind, before):
    content = encoded(kind)
    passes(with_png_chunks(content, PNG_METADATA[name], before=before), pixels_of(content))


@pytest.mark.parametrize("kind", ["jpeg", "jpeg-progressive", "jpeg-cmyk", "jpeg-rgb"])
@pytest.mark.parametrize("name", JPEG_METADATA)
def test_jpeg(name, kind):
    content = encoded(kind)
    if name == "an unknown JFIF version":
        content = content.replace(b"JFIF\0\x01", b"JFIF\0\x09")
        passes(content, pixels_of(content))
        return
    passes(with_jpeg_segments(content, *JPEG_METADATA[name]), pixels_of(content))


@pytest.mark.parametrize("kind", ["webp", "webp-alpha", "webp-lossless"])
@pytest.mark.parametrize("name", WEBP_METADATA)
def test_webp(name, kind):
    passes(encoded(kind, **WEBP_METADATA[name]), pixels_of(encoded(kind)))


def test_segments_between_the_scans_of_a_progressive_jpeg():
    content = encoded("jpeg-progressive")
    second = content.index(b"\xff\xda", content.index(b"\xff\xda") + 2)
    start = content.rindex(b"\xff\xc4", 0, second)
    comment = b"\xff\xfe" + struct.pack(">H", 102) + b"\xff\xd9" * 50
    passes(content[:start] + comment + content[start:], pixels_of(content))


def test_colors_stay_those_of_the_file():
    """JFIF and Adobe segments decide how components become colors: they are not left out."""
    for kind in ("jpeg", "jpeg-cmyk", "jpeg-rgb"):
        content = encoded(kind)
        with opened(io.BytesIO(content)) as image, Image.open(io.BytesIO(content)) as expected:
            assert (image.mode, image.tobytes()) == (expected.mode, expected.tobytes())


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp"])
def test_the_size_is_that_of_the_upright_image(kind, number):
    exif = Image.Exif()
    exif[0x0112] = number
    file = io.BytesIO(encoded(kind, exif=exif))
    assert orientation(file) == number
    expected = SIZE[::-1] if number >= 5 else SIZE
    assert image_size(file) == image_size(file, whole=True) == expected
    assert make_preview(file, b"")[1] == expected


TURNED = struct.pack(">4sIHHHIHHI", b"MM\0*", 8, 1, 0x0112, 3, 1, 6, 0, 0)
IMAGEMAGICK = b"\nexif\n%8d\n%s\n" % (6 + len(TURNED), (b"Exif\0\0" + TURNED).hex().encode())
XMP = xmp_packet(attributes='tiff:Orientation="6"')
STATED = {
    "ImageMagick's text in a PNG": with_png_chunks(
        encoded("png"), chunk(b"tEXt", b"Raw profile type exif\0" + IMAGEMAGICK)
    ),
    "ImageMagick's compressed text in a PNG": with_png_chunks(
        encoded("png"), chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(IMAGEMAGICK))
    ),
    "EXIF behind the pixels of a PNG": with_png_chunks(encoded("png"), chunk(b"eXIf", TURNED), before=b"IEND"),
    "XMP in a PNG": with_png_chunks(encoded("png"), chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)),
    "XMP in a JPEG": with_jpeg_segments(encoded("jpeg"), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)),
    "XMP in a WebP": encoded("webp", xmp=XMP),
    "EXIF without an end in a WebP": encoded("webp", exif=TURNED[:9] + b"\x09" + TURNED[10:22]),
}


@pytest.mark.parametrize("content", STATED.values(), ids=STATED)
def test_one_orientation_for_the_size_the_preview_and_the_copy(content):
    file = io.BytesIO(content)
    assert orientation(file) == 6
    assert image_size(file, whole=True) == make_preview(file, b"")[1] == SIZE[::-1]
    for form in ("jpeg", "png", "webp"):
        for keep in ("icc", "all"):
            target = io.BytesIO()
            copy_metadata(file, io.BytesIO(encoded(form)), target, keep=keep, upright=False)
            assert orientation(target) == 6
        target = io.BytesIO()
        copy_metadata(io.BytesIO(encoded(form)), file, target, keep=keep, upright=True)
        assert orientation(target) == 1


def test_the_orientation_of_big_endian_exif_and_of_a_long():
    for order, kind, value in ((">", 3, ">HH"), ("<", 3, "<HH"), (">", 4, ">I"), ("<", 4, "<I")):
        mark = b"MM\0*" if order == ">" else b"II*\0"
        entry = struct.pack(order + "HHI", 0x0112, kind, 1) + struct.pack(value, *((6, 0) if kind == 3 else (6,)))
        exif = b"Exif\0\0" + mark + struct.pack(order + "IH", 8, 1) + entry + bytes(4)
        content = with_jpeg_segments(encoded("jpeg"), (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"), (0xE1, exif))
        assert orientation(io.BytesIO(content)) == 6


#: Each file gets a fork of this process, so that its peak of memory is its own.
PEAKS = """
    import os, pathlib, re, sys, time

    import numpy, simplejpeg
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
    from airflow_provider_segmind.storage.verification import image_size

    def peak():
        return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

    for path in sys.argv[1:]:
        if os.fork() == 0:
            before, started = peak(), time.process_time()
            with open(path, "rb") as file:
                image_size(file, whole=True)
            print((peak() - before) // 1024, time.process_time() - started, path, flush=True)
            os._exit(0)
        assert os.wait()[1] == 0, path
"""


def large(folder: Path) -> None:
    image = Image.radial_gradient("L").resize((6000, 4000)).convert("RGB")
    image.save(folder / "24.jpg", quality=95)
    image.save(folder / "24-progressive.jpg", quality=95, progressive=True, subsampling=0)
    image.save(folder / "24.png", compress_level=1)
    image.save(folder / "24.webp", quality=80, method=0)
    image.save(folder / "24.tiff", compression="tiff_lzw")
    Image.new("L", (16_000, 12_000), 90).save(
        folder / "192.jpg", progressive=True
    )  # would be held whole: its pixels are not decoded
    Image.new("1", (40_000, 30_000)).save(folder / "1200.png")
    bomb = zlib.compress(bytes(500_000_000), 9)
    text = chunk(b"zTXt", b"workflow\0\0" + bomb) + chunk(b"iCCP", b"icc\0\0" + bomb)
    (folder / "bomb.png").write_bytes(with_png_chunks(encoded("png"), text))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read as Linux reports it")
def test_memory_is_bounded(tmp_path):
    large(tmp_path)
    command = [sys.executable, "-c", textwrap.dedent(PEAKS), *sorted(map(str, tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    print(done.stdout)
    grown = re.findall(r"^(\d+) [\d.]+ (\S+)$", done.stdout, re.MULTILINE)  # MiB, and the image
    assert len(grown) == 8
    assert [line for line in grown if int(line[0]) >= 300] == []
    assert [name for mib, name in grown if name.endswith("bomb.png") and int(mib) > 20] == []
