"""Previews as they are written: how small, how much memory, and with what in them."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from PIL import Image

from airflow_provider_segmind.protocol import preview_reference
from airflow_provider_segmind.protocol.preview_reference import LONGEST_SIDE, MAX_BYTES, Reference, is_genuine, marker
from airflow_provider_segmind.storage.preview_writer import make_preview


def reference_of(content: bytes, uri: str = "s3://b/x.png.preview.webp") -> Reference:
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
    return Reference(
        uri=uri, width=width, height=height, bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
    )


def preview_of(image: Image.Image, form: str = "PNG", dag_id: str = "d", **options) -> Image.Image:
    """A preview as a browser decodes it, known as genuine."""
    file = io.BytesIO()
    image.save(file, form, **options)
    content, size = make_preview(file, marker(dag_id))
    assert len(content) <= MAX_BYTES
    assert is_genuine(content, reference_of(content), dag_id)
    found = Image.open(io.BytesIO(content))
    found.load()
    assert found.size == size
    assert max(size) <= LONGEST_SIDE
    return found


# --- one image ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((300, 200), (300, 200)),  # never made larger
        ((600, 400), (512, 341)),
        ((4100, 1025), (512, 128)),
        ((1, 5000), (1, 512)),
        ((5000, 3), (512, 1)),
        ((2047, 2049), (512, 512)),
    ],
)
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_sizes(size, expected, form):
    found = preview_of(Image.new("RGB", size, (200, 30, 90)), form)
    assert all(abs(a - b) <= 1 for a, b in zip(found.size, expected, strict=True))
    pixel = found.convert("RGB").getpixel((0, 0))
    assert all(abs(a - b) <= 6 for a, b in zip(pixel, (200, 30, 90), strict=True))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_modes(mode):
    found = preview_of(Image.new(mode, (3000, 2000)))
    assert found.mode == ("RGBA" if "A" in mode else "RGB")
    preview_of(Image.new("CMYK", (3000, 2000)), "JPEG")


def test_transparency_stays():
    image = Image.new("RGBA", (4000, 2000), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (2000, 0, 4000, 2000))
    found = preview_of(image)
    assert found.getpixel((50, 128))[3] == 0
    assert found.getpixel((450, 128))[2:] == pytest.approx((255, 255), abs=4)


def test_the_exif_orientation_is_applied():
    image = Image.new("RGB", (1200, 800), "white")
    image.paste((255, 0, 0), (0, 0, 1200, 200))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees to the right
    found = preview_of(image, "JPEG", exif=exif, quality=95).convert("RGB")
    assert found.size == (341, 512)
    assert found.getpixel((330, 250))[1] < 60 < found.getpixel((10, 250))[1]


def test_noise_gets_a_lower_quality_and_stays_small():
    preview_of(Image.effect_noise((2048, 2048), 200).convert("RGB"))


@pytest.mark.parametrize(
    ("image", "form", "message"),
    [
        (Image.new("1", (9000, 9000)), "PNG", "too much memory"),
        (Image.new("L", (4100, 4100)), "WEBP", "too much memory"),
        (Image.new("I;16", (20, 20)), "PNG", "mode I;16"),
        (Image.new("RGB", (20, 20)), "BMP", "its format is BMP; JPEG, PNG and WebP are accepted"),
        (Image.new("RGB", (20, 20)), "TIFF", "its format is TIFF"),
        (Image.new("L", (9000, 9000)), "JPEG", "too much memory"),  # progressive: all of it lies in memory
    ],
)
def test_what_is_not_shown(image, form, message):
    file = io.BytesIO()
    image.save(file, form, **({"progressive": True} if form == "JPEG" else {}))
    with pytest.raises(Exception, match=message):
        make_preview(file, b"")


#: At the largest that is decoded, or near it: mode, format, width and height.
LARGEST = [
    ("RGBA", "PNG", 8000),
    ("RGB", "PNG", 8000),
    ("RGB", "WEBP", 4000),
    ("RGB", "JPEG", 16000),
    ("RGB", "JPEG", 5600),  # progressive: all of it is in memory
]
#: Each image gets a fork of this process, so that its peak of memory is its own.
PEAKS = """
    import os, pathlib, re, sys

    from airflow_provider_segmind.storage.preview_writer import make_preview
    from PIL import Image, WebPImagePlugin, PngImagePlugin, JpegImagePlugin

    def peak():
        return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

    for path in sys.argv[1:]:
        if os.fork() == 0:
            before = peak()
            make_preview(pathlib.Path(path).open("rb"), b"")
            print((peak() - before) // 1024, path, flush=True)
            os._exit(0)
        assert os.wait()[1] == 0, path
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read as Linux reports it")
def test_memory_is_bounded(tmp_path):
    for mode, form, size in LARGEST:
        image = Image.new(mode, (size, size), (10, 90, 200, 255)[: len(mode)])
        image.save(tmp_path / f"{mode}-{size}.{form}", form, progressive=size == 5600, subsampling=0)
        del image
    command = [sys.executable, "-c", textwrap.dedent(PEAKS), *sorted(tmp_path.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    print(done.stdout)
    grown = done.stdout.splitlines()  # MiB, and the image
    assert len(grown) == len(LARGEST)
    assert [line for line in grown if int(line.split()[0]) >= 300] == []


# --- what is genuine ------------------------------------------------------------------------------------------------


@pytest.fixture
def genuine():
    file = io.BytesIO()
    Image.new("RGBA", (600, 400), (1, 2, 3, 90)).save(file, "PNG")
    return make_preview(file, marker("dag"))[0]


def test_genuine(genuine):
    assert is_genuine(genuine, reference_of(genuine), "dag")
    assert not is_genuine(genuine, reference_of(genuine), "another")
    assert marker('"><x a="') != marker("x")
    assert b'"><' not in marker('"><x a="').replace(b'"><rdf', b"").replace(b'"/></', b"")


def plain_webp(size=(300, 200), **options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size).save(file, "WEBP", **options)
    return file.getvalue()


def animation() -> bytes:
    file = io.BytesIO()
    frames = [Image.new("RGB", (9, 9), color) for color in ("red", "blue")]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], xmp=marker("dag"))
    return file.getvalue()


@pytest.mark.parametrize(
    "make",
    [
        lambda good: plain_webp(),
        lambda good: plain_webp(lossless=True, xmp=marker("dag")),
        lambda good: plain_webp(xmp=marker("dag"), exif=b"Exif\0\0" + b"secret" * 10),
        lambda good: plain_webp(xmp=b"something"),
        lambda good: animation(),
        lambda good: good + b"root:x:0:0",
        lambda good: good + b"JUNK\x04\0\0\0abcd",
        lambda good: good[:-1],
        lambda good: good.replace(b"VP8X", b"VP8Y"),
        lambda good: good[:12] + b"JUNK\xff\xff\xff\xff" + good[20:],
        lambda good: b"root:x:0:0:root:/:/bin/sh\n",
        lambda good: b"RIFF\x04\0\0\0WEBP",
        lambda good: b"RIFF\x0c\0\0\0WEBPVP8X\0\0\0\0",
        lambda good: b"x",
        lambda good: good[:24] + b"\xff\xff\x00" + good[27:],  # a canvas of another width than the frame
    ],
)
def test_not_genuine(genuine, make):
    content = make(genuine)
    found = reference_of(genuine).model_copy(
        update={"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    )
    assert not is_genuine(content, found, "dag")


GOOD = {"uri": "s3://c@b/k.png.preview.webp", "width": 5, "height": 4, "bytes": 9, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, True),
        ({"uri": "s3://c@b/other.png.preview.webp"}, False),
        ({"uri": "s3://c@b/k.png"}, False),
        ({"uri": None}, False),
        ({"uri": "s3://c@b/k.png.before.webp"}, False),
        ({"width": 513}, False),
        ({"height": 0}, False),
        ({"width": "5"}, False),
        ({"bytes": MAX_BYTES + 1}, False),
        ({"bytes": -1}, False),
        ({"sha256": ""}, False),
        ({"sha256": "Z" * 64}, False),
    ],
)
def test_references(change, found):
    value = {"stored": [{"uri": "s3://c@b/k.png", "preview": {"after": {**GOOD, **change}, "before": None}}]}
    assert (preview_reference.reference_in(value, 0, "after") is not None) is found
    assert preview_reference.reference_in(value, 0, "before") is None
    assert preview_reference.reference_in(value, 1, "after") is None


@pytest.mark.parametrize("uri", ["file:///a/../../etc/k", "k", "/etc/k", "s3://b/k\n", "s3://b/\x00k", "s3://"])
def test_addresses_that_are_refused(uri):
    value = {"stored": [{"uri": uri, "preview": {"after": {**GOOD, "uri": f"{uri}.preview.webp"}}}]}
    assert preview_reference.reference_in(value, 0, "after") is None


@pytest.mark.parametrize(
    "value", [None, [], "x", 7, {"stored": None}, {"stored": {}}, {"stored": [None]}, {"stored": [{}]}]
)
def test_other_results_have_none(value):
    assert preview_reference.reference_in(value, 0, "after") is None
