"""The format that a destination's extension selects, and what contradicts it."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.protocol.formats import format_of_name, requested_extension, with_format


@pytest.mark.parametrize(
    ("uri", "extension"),
    [
        ("s3://b/a/cat.jpg", ".jpg"),
        ("s3://b/a/cat.JPG", ".jpg"),
        ("s3://b/a/cat.jpeg", ".jpg"),
        ("s3://b/a/cat.jpe", ".jpg"),
        ("s3://b/a/cat.v2.Png", ".png"),
        ("{stem}.webp", ".webp"),
        ("file:///a.png/cat", None),
        ("file:///a.png/", None),
        ("s3://b/{stem}.{ext}", None),
        ("s3://b/cat.out", None),
        ("s3://b/cat", None),
        ("s3://b/.png", None),
        ("s3://b/cat.gif", ".gif"),
        ("s3://b/cat.tif", ".tiff"),
        ("s3://b/cat.mp4", ".mp4"),
    ],
)
def test_the_format_that_a_name_promises(uri, extension):
    assert format_of_name(uri) == extension


@pytest.mark.parametrize(
    ("slug", "uri", "parameters"),
    [
        ("esrgan", "x/cat.jpg", {"output_format": "jpeg"}),
        ("esrgan", "x/cat.JPEG", {"output_format": "jpeg"}),
        ("esrgan", "x/cat.jpe", {"output_format": "jpeg"}),
        ("esrgan", "x/cat.webp", {"output_format": "webp"}),
        ("nomos-upscaler", "x/cat.jpg", {"image_format": "jpg"}),
        ("nomos-upscaler", "x/cat.jpeg", {"image_format": "jpg"}),
        ("esrgan", "x/cat", {}),
        ("esrgan", "x/cat.out", {}),
        ("esrgan", "x.png/", {}),
        ("esrgan", None, {}),
        ("bria-increase-resolution", "x/cat.png", {}),
        ("some-model", "x/cat.gif", {}),
    ],
)
def test_the_extension_selects_the_format(slug, uri, parameters):
    assert with_format(slug, {"scale": 2}, uri) == {"scale": 2, **parameters}
    for name in ("output_format", "image_format"):
        if slug != "some-model" and name in parameters:
            assert with_format(slug, {name: None}, uri) == parameters
    if parameters:
        assert requested_extension(parameters) == format_of_name(uri)


def test_a_format_that_agrees_is_kept_as_it_is_given():
    for given, uri in (("jpeg", "x.jpg"), ("jpg", "x.jpeg"), (" webp ", "x.webp"), ("png", "x"), ("gif", "x.png")):
        assert with_format("nomos-upscaler", {"image_format": given}, uri) == {"image_format": given}


@pytest.mark.parametrize(
    ("slug", "parameters", "uri", "message"),
    [
        ("esrgan", {"output_format": "jpeg"}, "s3://b/x.png", "x.png has the extension of another format"),
        ("nomos-upscaler", {"image_format": "webp"}, "s3://b/x.JPG", "image_format='webp'"),
        ("esrgan", {}, "s3://b/x.gif", "x.gif has an extension that esrgan cannot write; it writes .jpg, .png, .webp"),
        ("nomos-upscaler", {}, "s3://b/x.tif", "cannot write"),
        ("bria-increase-resolution", {}, "s3://b/x.bmp", "cannot write"),
        ("esrgan", {}, "s3://b/x.mp4", "cannot write"),
        ("esrgan", {}, "s3://b/x.HEIC", "cannot write"),
    ],
)
def test_a_contradiction_is_refused(slug, parameters, uri, message):
    with pytest.raises(SegmindConfigError, match=message) as caught:
        with_format(slug, parameters, uri)
    assert "Nothing was submitted" in str(caught.value)


@pytest.mark.parametrize("parameters", [{}, {"output_format": None}, {"image_format": "gif"}, {"scale": 2}])
def test_no_format_is_requested(parameters):
    assert requested_extension(parameters) is None
