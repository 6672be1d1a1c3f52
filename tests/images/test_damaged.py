"""Damaged images: a cut is found, whatever is found is reported as our error, and sound images always pass."""

from __future__ import annotations

import io
import random
import struct
import zlib

import pytest
from PIL import Image

from airflow_provider_segmind.exceptions import SegmindOutputError
from airflow_provider_segmind.storage.verification import image_size, opened, orientation
from tests.images.samples import ALL_KINDS, chunk, encoded
from tests.images.survey import RAW, USES, verdict_of

MUTANTS = 60  # of each kind of image


def whole(content: bytes) -> tuple[int, int]:
    return image_size(io.BytesIO(content), whole=True)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return the content with flipped bits, without a part, or with zeros inserted or in place of a part."""
    result = bytearray(content)
    start = chance.randrange(len(result))
    length = chance.choice((1, 2, 4, 16, 200))
    match chance.randrange(6):
        case 0:
            for _ in range(length):
                result[chance.randrange(len(result))] ^= 1 << chance.randrange(8)
        case 1:
            del result[start:]
        case 2:
            del result[start : start + length]
        case 3:
            result[start:start] = bytes(length)
        case 4:
            result[start : start + length] = bytes(length)
        case 5:
            result[start:start] = chance.randbytes(length)
    return bytes(result)


@pytest.mark.parametrize("kind", ALL_KINDS)
@pytest.mark.parametrize("size", [(1, 1), (75, 53), (8, 17), (640, 3)])
def test_a_sound_image_passes(kind, size):
    content = encoded(kind, size)
    assert whole(content) == size
    assert whole(content + b"\0" * 1000) == size, "what follows the image does not matter"


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_only_our_errors(kind):
    chance = random.Random(kind)
    content = encoded(kind)
    found = [verdict_of(io.BytesIO(damaged(content, chance)), use) for _ in range(MUTANTS) for use in USES]
    assert [verdict.text for verdict in found if verdict.kind == RAW] == []


@pytest.mark.parametrize("kind", [kind for kind in ALL_KINDS if kind.startswith("png")])
def test_whatever_changes_the_pixels_of_a_png_is_found(kind):
    chance = random.Random(kind)
    content = encoded(kind)
    pixels = Image.open(io.BytesIO(content)).tobytes()
    for _ in range(MUTANTS):
        mutant = damaged(content, chance)
        try:
            whole(mutant)
        except SegmindOutputError:
            continue
        with opened(io.BytesIO(mutant)) as image:
            assert image.tobytes() == pixels


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_cut_is_found(kind):
    content = encoded(kind)
    chance = random.Random(kind)
    for end in {1, 2, 11, len(content) - 1, len(content) - 2, *chance.choices(range(len(content)), k=60)}:
        with pytest.raises(SegmindOutputError):
            whole(content[:end])


@pytest.mark.parametrize("kind", [kind for kind in ALL_KINDS if kind.startswith("jpeg") and "progressive" not in kind])
@pytest.mark.parametrize("tail", [b"", bytes(2000), b"\xff" * 50, bytes(range(250)) * 8])
def test_a_cut_jpeg_is_found_even_if_its_end_is_added(kind, tail):
    content = encoded(kind, (150, 106))
    for tenths in range(4, 10):
        with pytest.raises(SegmindOutputError, match="not a whole image"):
            whole(content[: len(content) * tenths // 10] + tail + b"\xff\xd9")


def test_a_very_large_image_is_verified_too():
    """Above 64 million pixels nothing is decoded at full size."""
    file = io.BytesIO()
    image = Image.new("L", (9000, 8000), 90)
    image.save(file, "MPO", save_all=True, append_images=[image.reduce(4)])
    assert whole(file.getvalue()) == (9000, 8000)
    with pytest.raises(SegmindOutputError, match="the end of the image is missing"):
        whole(file.getvalue()[: len(file.getvalue()) // 2])  # the first image, which is the larger one, is cut
    header = struct.pack(">IIBBBBB", 9000, 8000, 8, 0, 0, 0, 0)
    for rows, sound in ((8000, True), (7999, False), (4000, False)):
        pixels = chunk(b"IDAT", zlib.compress(bytes(9001 * rows), 1))
        content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")
        if sound:
            assert whole(content) == (9000, 8000)
            continue
        with pytest.raises(SegmindOutputError, match=f"only {9001 * rows} of 72008000 bytes of its pixels are there"):
            whole(content)


@pytest.mark.parametrize("padding", [b"\0", bytes(4), b"\0" * 700, b"\x12" * 64])
def test_padding_before_the_end_of_a_jpeg_is_harmless(padding):
    content = encoded("jpeg")
    assert whole(content[:-2] + padding + b"\xff\xd9") == (75, 53)
    damage = content[: len(content) * 8 // 10] + padding + b"\xff\xd9"
    with pytest.raises(SegmindOutputError, match="libjpeg"):
        whole(damage)


def test_an_orientation_that_cannot_be_read_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    chance = random.Random(0)
    for kind in ("jpeg", "png", "webp"):
        content = encoded(kind, exif=exif)
        assert orientation(io.BytesIO(content)) == 6
        assert {orientation(io.BytesIO(damaged(content, chance))) for _ in range(200)} <= set(range(1, 9))
    assert orientation(io.BytesIO(b"")) == 1
