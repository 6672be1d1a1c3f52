"""``run -o``: the image itself, extensions and long names, checked before anything is sent."""

from __future__ import annotations

import os

import pytest
from PIL import Image


def assert_refused(done, emulator, reported):
    assert done.code == 1
    assert reported in done.err.replace("\n", " ")
    assert (emulator.stats.submits_attempted, emulator.stats.uploads) == (0, 0)


@pytest.mark.parametrize(
    "output",
    [
        "cat.jpg",
        "./cat.jpg",
        "sub/../cat.jpg",
        ".",
        "./",
        "link.jpg",
        "hard.jpg",
        "{stem}.{ext}",
        "file://HERE/cat.jpg",
    ],
)
def test_the_output_does_not_replace_the_image(run, here, segmind_emulator, output):
    (here / "sub").mkdir()
    (here / "link.jpg").symlink_to(here / "cat.jpg")
    os.link(here / "cat.jpg", here / "hard.jpg")
    before = (here / "cat.jpg").read_bytes()
    done = run("run", "esrgan", "cat.jpg", "-o", output.replace("HERE", str(here)))
    assert_refused(done, segmind_emulator, "is the input itself, or may become it")
    assert "--overwrite-input" in done.err
    assert (here / "cat.jpg").read_bytes() == before


@pytest.mark.parametrize("output", ["cat.jpg", "."])
def test_the_output_replaces_the_image_with_consent(run, here, output):
    done = run("run", "esrgan", "cat.jpg", "-o", output, "--overwrite-input")
    assert done.code == 0, done.err
    with Image.open(here / "cat.jpg") as image:
        assert image.size == (600, 400)


def test_another_name_needs_no_consent(run, here):
    (here / "out").mkdir()
    assert run("run", "esrgan", "cat.jpg", "-o", "out").code == 0
    assert run("run", "esrgan", "cat.jpg", "-o", "Cat.jpg").code == 0
    assert sorted(path.name for path in here.rglob("*.jpg")) == ["Cat.jpg", "cat.jpg", "cat.jpg"]


@pytest.mark.parametrize(("extension", "kind"), [("png", "PNG"), ("JPG", "JPEG"), ("jpe", "JPEG"), ("webp", "WEBP")])
def test_the_extension_selects_the_format(run, here, extension, kind):
    done = run("run", "nomos-upscaler", "cat.jpg", "-o", f"out.{extension}")
    assert done.code == 0, done.err
    with Image.open(here / f"out.{extension}") as image:
        assert image.format == kind
    assert "has the extension" not in done.err


@pytest.mark.parametrize(
    ("typed", "reported"),
    [
        (("esrgan", "cat.jpg", "-o", "x.gif"), "x.gif has an extension that esrgan cannot write"),
        (("bria-increase-resolution", "cat.jpg", "-o", "x.tiff"), "it writes .jpg, .png, .webp"),
        (("esrgan", "cat.jpg", "-o", "x.png", "--output-format", "webp"), "the extension of another format"),
        (("esrgan", "cat.jpg", "-o", "x.png", "-p", "output_format=jpeg"), "output_format='jpeg'"),
        (("esrgan", "cat.jpg", "-o", "n" * 252 + ".png"), "a name has 256 bytes, and the store allows 255 there"),
        (("some-model", "-p", "prompt=x", "-o", "n" * 250 + ".png"), "a name has 257 bytes"),
    ],
)
def test_an_output_that_cannot_be_as_it_is_named_costs_nothing(run, here, segmind_emulator, typed, reported):
    assert_refused(run("run", *typed), segmind_emulator, reported)
    assert [path.name for path in here.iterdir()] == ["cat.jpg"]
