"""Colours on a managed display stay those of the input, through the emulator's pipeline."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from airflow_provider_segmind.emulator.pixels import Upscale, upscale
from airflow_provider_segmind.storage.metadata import icc
from tests.image_metadata import ADOBE_RGB, SPACES, copied, encoded, opened

SRGB = ImageCms.createProfile("sRGB")
LAB = ImageCms.createProfile("LAB")
FACTOR, QUALITY = 2, 95


@pytest.fixture(scope="module", params=SPACES)
def tagged(request: pytest.FixtureRequest) -> tuple[Image.Image, bytes]:
    """A photo in a wide colour space, and its profile: the cat, its colours stretched to what sRGB does not have."""
    profile = SPACES[request.param]
    with Image.open(Path(__file__).parent / "photos" / "cat.jpg") as cat:
        wide = ImageCms.profileToProfile(cat.convert("RGB"), SRGB, ImageCms.ImageCmsProfile(io.BytesIO(profile)))
        assert wide
        return Image.blend(wide.convert("L").convert("RGB"), wide, 1.6), profile


def lab(image: Image.Image) -> NDArray[np.float64]:
    """An image as a display of sRGB shows it, in CIELAB: rendered from its profile; without one it is sRGB."""
    profile = image.info.get("icc_profile")
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile)) if profile else SRGB
    displayed = ImageCms.profileToProfile(image.convert("RGB"), source, SRGB, outputMode="RGB")
    linear = np.asarray(displayed, dtype=np.float64) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / to_xyz.sum(axis=1)
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def delta_e(one: Image.Image, other: Image.Image) -> tuple[float, float]:
    """CIE76 between two images as displayed: mean and 99th percentile."""
    difference = np.sqrt(((lab(one) - lab(other)) ** 2).sum(axis=-1))
    return float(difference.mean()), float(np.percentile(difference, 99))


def untagged(content: bytes) -> Image.Image:
    image = opened(content)
    image.info.pop("icc_profile", None)
    return image


def through_the_emulator(source: bytes, form: str) -> bytes:
    work = Upscale(
        source="data:;base64," + base64.b64encode(source).decode(), factor=FACTOR, format=form, quality=QUALITY
    )
    return upscale(source, work).data


@pytest.mark.parametrize("source_form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("form", ["jpeg", "png", "webp"])
def test_colours_stay_the_same(tagged, source_form, form):
    """The input, upscaled and encoded in the same way by an upscaler that keeps profiles, is what has to be shown."""
    photo, profile = tagged
    source = encoded(photo, source_form, icc_profile=profile)
    upscaled = through_the_emulator(source, form)
    written, stored = copied(source, upscaled)
    assert written == ("icc",)
    assert opened(stored).info["icc_profile"] == profile
    expected = opened(source).convert("RGB")
    expected = expected.resize((expected.width * FACTOR, expected.height * FACTOR), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    options = {"png": {}, "jpeg": {"quality": QUALITY}, "webp": {"quality": QUALITY, "method": 0}}[form]
    expected.save(file, form, icc_profile=profile, **options)
    before, after = (
        delta_e(opened(file.getvalue()), untagged(upscaled)),
        delta_e(opened(file.getvalue()), opened(stored)),
    )
    expected.info["icc_profile"] = profile
    encoder = delta_e(expected, opened(stored))  # how much of it the lossy formats change, in any colour space
    print(f"{source_form} -> {form}: without the profile {before}, with it {after}, encoder {encoder}")
    assert before[0] > 4
    assert max(after) < 1
    assert form != "png" or max(encoder) < 1


# Linear RGB to linear sRGB, as published.
FROM_P3 = ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979))
FROM_ADOBE_RGB = ((1.3984, -0.3984, 0.0), (0.0, 1.0, 0.0), (0.0, -0.0429, 1.0429))
UNCHANGED = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@pytest.mark.parametrize("rgb", [(180, 100, 90), (110, 160, 120), (90, 110, 160), (128, 128, 128), (255, 255, 255)])
@pytest.mark.parametrize(
    ("primaries", "curve", "exponent", "matrix"),
    [
        (icc.SRGB, icc.srgb_curve(), None, UNCHANGED),
        (icc.SRGB, icc.gamma(1), 1, UNCHANGED),
        (icc.DISPLAY_P3, icc.srgb_curve(), None, FROM_P3),
        (ADOBE_RGB, icc.gamma(563 / 256), 563 / 256, FROM_ADOBE_RGB),
    ],
    ids=["sRGB", "linear", "Display P3", "Adobe RGB"],
)
def test_profiles_that_are_made_mean_what_they_state(primaries, curve, exponent, matrix, rgb):
    """Rendered to sRGB by Little CMS, compared with the definitions of the colour spaces."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc.made(b"RGB ", primaries, curve)))
    found = ImageCms.profileToProfile(Image.new("RGB", (1, 1), rgb), profile, SRGB, outputMode="RGB").getpixel((0, 0))
    values = np.array(rgb) / 255
    linear = np.array(matrix) @ (values**exponent if exponent else np.power((values + 0.055) / 1.055, 2.4))
    expected = 255 * (1.055 * np.power(linear.clip(0, 1), 1 / 2.4) - 0.055)
    assert np.abs(np.array(found) - expected).max() <= 1


def test_a_grey_profile_that_is_made_can_be_used():
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc.made(b"GRAY", icc.SRGB, icc.gamma(1))))
    found = ImageCms.profileToProfile(Image.new("L", (1, 1), 55), profile, SRGB, outputMode="RGB").getpixel((0, 0))
    assert found == (128, 128, 128)
