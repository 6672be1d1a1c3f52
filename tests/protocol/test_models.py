"""The three models' parameters, exactly as their pages state them."""

from __future__ import annotations

import base64

import pytest

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.operators import segmind as operators
from airflow_provider_segmind.protocol.models import (
    MODELS,
    ModelParameters,
    check_known,
    model_page,
    request_body,
)

URL = "https://www.segmind.com/butterfly.png"
PNG_BYTES = b"\x89PNG\r\n\x1a\n" + bytes(range(240, 256)) * 8  # has + and / in base64, and needs padding
PNG = base64.b64encode(PNG_BYTES).decode()
DATA_URI = f"data:image/png;base64,{PNG}"


def test_defaults_are_the_pages():
    assert request_body("esrgan", {"image": URL}) == {
        "image": URL,
        "scale": 2,
        "output_format": "jpeg",
        "quality": 95,
    }
    assert request_body("nomos-upscaler", {"image": URL}) == {
        "image": URL,
        "image_format": "png",
        "image_quality": 90,
        "base64": False,
    }
    assert request_body("bria-increase-resolution", {"image": URL}) == {
        "image": URL,
        "desired_increase": 4,
        "preserve_alpha": True,
        "visual_input_content_moderation": False,
        "visual_output_content_moderation": False,
    }


def test_the_page_s_own_example_is_taken_and_sent_as_a_number():
    assert request_body("esrgan", {"image": URL, "scale": "2", "quality": "80"})["scale"] == 2
    assert request_body("nomos-upscaler", {"image": URL, "base64": "True"})["base64"] is True
    assert (
        request_body("bria-increase-resolution", {"image": URL, "preserve_alpha": "false"})["preserve_alpha"] is False
    )


@pytest.mark.parametrize(
    ("slug", "parameters", "named"),
    [
        ("esrgan", {}, "image"),
        ("esrgan", {"image": URL, "scale": 3}, "scale"),
        ("esrgan", {"image": URL, "scale": "x"}, "scale"),
        ("esrgan", {"image": URL, "scale": True}, "scale"),
        ("esrgan", {"image": URL, "quality": 9}, "quality"),
        ("esrgan", {"image": URL, "quality": 101}, "quality"),
        ("esrgan", {"image": URL, "quality": True}, "quality"),
        ("esrgan", {"image": URL, "output_format": "jpg"}, "output_format"),
        ("esrgan", {"image": URL, "outptu_format": "png"}, "outptu_format"),
        ("nomos-upscaler", {"image": URL, "image_quality": 0}, "image_quality"),
        ("nomos-upscaler", {"image": URL, "image_quality": True}, "image_quality"),
        ("nomos-upscaler", {"image": URL, "image_format": "gif"}, "image_format"),
        ("nomos-upscaler", {"image": URL, "base64": "maybe"}, "base64"),
        ("bria-increase-resolution", {"image": URL, "desired_increase": 8}, "desired_increase"),
        ("bria-increase-resolution", {"image": URL, "desired_increase": 3}, "desired_increase"),
        ("bria-increase-resolution", {"image": URL, "preserve_alpha": "maybe"}, "preserve_alpha"),
    ],
)
def test_what_a_page_does_not_allow_is_refused_by_name(slug, parameters, named):
    with pytest.raises(SegmindConfigError) as caught:
        request_body(slug, parameters)
    assert f"{named}: " in str(caught.value)
    assert slug in str(caught.value)
    assert not caught.value.retryable


@pytest.mark.parametrize("image", [URL, "http://x/y.png?a=b", f" {URL}\n"])
def test_an_image_may_be_a_url(image):
    for slug in MODELS:
        assert request_body(slug, {"image": image})["image"] == image.strip()


SPELLINGS = {
    "canonical": DATA_URI,
    "base64": PNG,
    "wrapped": base64.encodebytes(PNG_BYTES).decode(),
    "indented": "\n    ".join(PNG[start : start + 20] for start in range(0, len(PNG), 20)),
    "url-safe": base64.urlsafe_b64encode(PNG_BYTES).decode(),
    "without padding": PNG.rstrip("="),
    "charset": f"data:image/png;charset=utf-8;base64,{PNG}",
    "another order": f"DATA:IMAGE/PNG;BASE64;name=a.png,{PNG}",
    "space in the header": f"data:image/png; base64,\n{base64.encodebytes(PNG_BYTES).decode()}",
    "another type": f"data:image/jpeg;base64,{PNG}",
    "no type": f"data:;base64,{PNG}",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_one_image_is_one_request(spelling):
    body = request_body("nomos-upscaler", {"image": SPELLINGS[spelling]})
    assert body["image"] == DATA_URI
    assert body == request_body("nomos-upscaler", body), "the canonical spelling stays as it is"


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("slug", [slug for slug, model in MODELS.items() if not model.takes_base64])
def test_base64_is_refused_where_the_page_promises_a_url_only(slug, spelling):
    with pytest.raises(SegmindConfigError) as caught:
        check_known(slug, {"image": SPELLINGS[spelling]})
    for text in (slug, "image: must be an http(s) URL", "input_path= of " + MODELS[slug].operator, "input_transport="):
        assert text in str(caught.value)


def test_only_nomos_takes_base64():
    """As on the models' pages."""
    assert [slug for slug, model in MODELS.items() if model.takes_base64] == ["nomos-upscaler"]


def test_content_of_an_unknown_type_keeps_the_stated_one():
    text = base64.b64encode(b"an image of tomorrow").decode()
    body = request_body("nomos-upscaler", {"image": f"data:Image/New;base64,{text}"})
    assert body["image"] == f"data:image/new;base64,{text}"


@pytest.mark.parametrize(
    "image",
    [
        "",
        "/etc/passwd",
        "file:///etc/passwd",
        "s3://bucket/cat.png",
        "cat.png",
        "data:image/png;base64,@@",
        "http://",
        7,
    ],
)
def test_a_plain_string_is_never_a_local_file(image):
    for slug in MODELS:
        with pytest.raises(SegmindConfigError) as caught:
            request_body(slug, {"image": image})
        assert "image: " in str(caught.value)


def test_any_other_slug_takes_a_free_dict():
    assert request_body("some-model", {"anything": [1, {"x": None}]}) == {"anything": [1, {"x": None}]}
    for odd in (float("nan"), {1, 2}, object(), b"x"):
        with pytest.raises(SegmindConfigError, match="cannot be sent as JSON"):
            request_body("some-model", {"x": odd})
    with pytest.raises(SegmindConfigError, match="dict"):
        request_body("some-model", "text")


def test_pending_parameters_are_not_checked():
    check_known("esrgan", {"image": "{{ params.image }}", "scale": 2}, pending={"image"})
    check_known("esrgan", {"scale": 2}, pending={"image"})
    with pytest.raises(SegmindConfigError, match="scale"):
        check_known("esrgan", {"image": "{{ x }}", "scale": 3}, pending={"image"})
    with pytest.raises(SegmindConfigError, match="image"):
        check_known("esrgan", {"scale": 2})


def test_an_image_is_not_part_of_an_error_message():
    with pytest.raises(SegmindConfigError) as caught:
        request_body("nomos-upscaler", {"image": DATA_URI + "@" * 10_000})
    assert len(str(caught.value)) < 500


def test_every_model_has_a_complete_row():
    """What other modules list by model comes from this table."""
    assert {model.expected_seconds for model in MODELS.values()} == {4.93, 9.09, 12.52}
    assert {model.usd_per_request for model in MODELS.values()} == {0.00466, 0.01155, 0.03676}
    for slug, model in MODELS.items():
        assert issubclass(model, ModelParameters)
        assert model.operator in operators.__all__
        assert getattr(operators, model.operator).__name__ == model.operator
        assert model_page(slug) == f"https://www.segmind.com/models/{slug}"
        assert model.format_parameter is None or model.format_parameter in model.model_fields
