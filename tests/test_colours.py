"""Whether a model has converted its input to sRGB is seen by the values of its output."""

from __future__ import annotations

import io

import pytest
from PIL import Image, ImageCms

from airflow_provider_segmind.storage.colours import is_converted
from tests.image_metadata import SPACES
from tests.image_pairs import photos
from tests.image_scores import PHOTOS

SRGB = ImageCms.createProfile("sRGB")
IMAGES = {name: Image.open(io.BytesIO(content)).convert("RGB") for name, content in photos(PHOTOS, 200).items()}


def encoded(image, kind="PNG", **options) -> io.BytesIO:
    file = io.BytesIO()
    image.convert("RGB").save(file, kind, **options)
    return file


@pytest.fixture(scope="module", params=SPACES)
def space(request):
    return SPACES[request.param]


@pytest.mark.parametrize("quality", [60, 95])
@pytest.mark.parametrize("name", IMAGES)
def test_values_that_were_not_converted_keep_the_profile(name, space, quality):
    photo = IMAGES[name]
    source = encoded(photo, icc_profile=space)
    output = encoded(photo.resize((photo.width * 2, photo.height * 2)), "JPEG", quality=quality)
    assert not is_converted(source, output)


def test_values_that_were_converted_are_recognized(space):
    found = {}
    for name, photo in IMAGES.items():
        there = ImageCms.ImageCmsProfile(io.BytesIO(space))
        converted = ImageCms.profileToProfile(photo, there, ImageCms.ImageCmsProfile(SRGB))
        output = encoded(converted.resize((photo.width * 2, photo.height * 2)), "JPEG", quality=90)
        found[name] = is_converted(encoded(photo, icc_profile=space), output)
    assert sum(found.values()) >= 8, found  # the others have hardly any colours


@pytest.mark.parametrize("profile", [None, b"nonsense", b"\0" * 16 + b"CMYK" + b"\0" * 200])
def test_a_profile_that_cannot_be_used_is_not_a_reason(profile):
    options = {} if profile is None else {"icc_profile": profile}
    assert not is_converted(encoded(IMAGES["cat.jpg"], **options), encoded(IMAGES["astronaut.png"]))
