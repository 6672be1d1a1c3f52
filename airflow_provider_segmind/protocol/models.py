"""
The three upscalers' parameters exactly as their pages state them, and the open door for any other slug.

Sources: the model pages of ``esrgan``, ``nomos-upscaler`` and ``bria-increase-resolution``.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.protocol.content_types import is_image

MODEL_PAGE = "https://www.segmind.com/models/{slug}"

_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HTTP_URL = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)
_DATA_URI = re.compile(r"data:[\w.+-]+/[\w.+-]+;base64,", re.IGNORECASE)


def decode_base64(text: str) -> bytes | None:
    """Return the bytes of a data URI or of plain base64, or None where the text is neither."""
    start = text.index(",") + 1 if _DATA_URI.match(text[:200]) else 0
    try:
        return base64.b64decode(text[start:], validate=True) or None
    except (binascii.Error, ValueError):
        return None


def _image_source(value: str) -> str:
    if _HTTP_URL.fullmatch(value):
        return value
    if _DATA_URI.match(value[:200]):
        if decode_base64(value) is None:
            raise ValueError("the data URI does not hold valid base64")
        return value
    raise ValueError(
        "must be an http(s) URL or a base64 data URI; a file or an object in a bucket goes through input_path="
    )


def _image_source_or_base64(value: str) -> str:
    head = decode_base64(value[:64]) if len(value) >= 64 else None
    if head is not None and is_image(head) and decode_base64(value) is not None:
        return value
    return _image_source(value)


def _number(value: Any) -> Any:
    """Take "2" for 2, as esrgan's own example sends it; but never True for 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not a boolean")  # noqa: TRY004  pydantic collects ValueError only
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,9}\s*", value):
        return int(value)
    return value


ImageSource = Annotated[str, AfterValidator(_image_source)]
ImageSourceOrBase64 = Annotated[str, AfterValidator(_image_source_or_base64)]


class ModelParameters(BaseModel):
    """
    Parameters of one model; unknown names are refused.

    ``slug`` names the model in URLs, ``title`` to people. ``expected_seconds`` is the time per request that its
    page states, if it states one. ``takes_base64`` tells whether its page says that ``image`` may be base64.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, str_strip_whitespace=True)

    slug: ClassVar[str]
    expected_seconds: ClassVar[float | None] = None
    title: ClassVar[str]
    takes_base64: ClassVar[bool] = False

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the submit: every parameter, defaults included."""
        return self.model_dump(mode="json")


class EsrganParameters(ModelParameters):
    """ESRGAN. Page: https://www.segmind.com/models/esrgan."""

    slug: ClassVar[str] = "esrgan"
    title: ClassVar[str] = "ESRGAN"

    image: ImageSource
    scale: Annotated[Literal[2, 4, 8], BeforeValidator(_number)] = 2
    output_format: Literal["jpeg", "png", "webp"] = "jpeg"
    quality: Annotated[int, BeforeValidator(_number), Field(ge=10, le=100)] = 95


class NomosUpscalerParameters(ModelParameters):
    """Nomos Image Upscaler 4k. Page: https://www.segmind.com/models/nomos-upscaler."""

    # The page names a parameter "base64"; nothing in BaseModel is hidden by it.
    slug: ClassVar[str] = "nomos-upscaler"
    title: ClassVar[str] = "Nomos Image Upscaler 4k"
    takes_base64: ClassVar[bool] = True

    image: ImageSourceOrBase64
    image_format: Literal["png", "jpg", "jpeg", "webp"] = "png"
    image_quality: Annotated[int, BeforeValidator(_number), Field(ge=1, le=100)] = 90
    base64: bool = False


class BriaIncreaseResolutionParameters(ModelParameters):
    """
    Bria Increase Resolution. Page: https://www.segmind.com/models/bria-increase-resolution.

    The page gives ``image`` a sample URL as its default; it is required here, so that nobody pays for the sample.
    """

    slug: ClassVar[str] = "bria-increase-resolution"
    title: ClassVar[str] = "Bria Increase Resolution"
    expected_seconds: ClassVar[float | None] = 12.04

    image: ImageSource
    desired_increase: Annotated[Literal[2, 4], BeforeValidator(_number)] = 4
    preserve_alpha: bool = True
    visual_input_content_moderation: bool = False
    visual_output_content_moderation: bool = False


MODELS: dict[str, type[ModelParameters]] = {
    model.slug: model for model in (EsrganParameters, NomosUpscalerParameters, BriaIncreaseResolutionParameters)
}


def check_slug(slug: Any) -> str:
    """Return the slug if it can stand in a URL's path; raise SegmindConfigError otherwise."""
    if not isinstance(slug, str) or not _SLUG.fullmatch(slug):
        raise SegmindConfigError(
            f"{slug!r} is no model slug: expected the last part of a model page's address, such as 'esrgan'"
        )
    return slug


def request_body(slug: str, parameters: Mapping[str, Any], *, workflow: bool = False) -> dict[str, Any]:
    """
    Return the JSON body of a submit.

    :param slug: the model. The three upscalers are checked against their pages; any other takes a free dict.
    :param parameters: the model's parameters by name.
    :param workflow: the slug names a PixelFlow workflow, which takes a free dict.
    :raises SegmindConfigError: a parameter is missing, unknown, of the wrong type or out of range.
    """
    model = None if workflow and check_slug(slug) else MODELS.get(check_slug(slug))
    if not isinstance(parameters, Mapping):
        raise SegmindConfigError(f"parameters must be a dict of names and values, not {type(parameters).__name__}")
    if model is None:
        try:
            json.dumps(dict(parameters), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise SegmindConfigError(f"parameters of {slug} cannot be sent as JSON: {error}") from None
        return dict(parameters)
    try:
        return model.model_validate(dict(parameters)).body()
    except ValidationError as error:
        raise SegmindConfigError(describe(slug, error)) from None


def check_known(slug: str, parameters: Mapping[str, Any], *, pending: Iterable[str] = ()) -> None:
    """
    Check the parameters that are final already, before the others are rendered.

    :param slug: the model.
    :param parameters: the final parameters by name.
    :param pending: names of parameters that will be rendered later; nothing is said about them.
    :raises SegmindConfigError: as :func:`request_body`.
    """
    model = MODELS.get(slug)
    if model is None:
        return
    later = set(pending)
    try:
        model.model_validate({name: value for name, value in parameters.items() if name not in later})
    except ValidationError as error:
        if reported := describe(slug, error, skip=later):
            raise SegmindConfigError(reported) from None


def describe(slug: str, error: ValidationError, *, skip: Iterable[str] = ()) -> str:
    """Say in words which parameters are wrong and what they take; '' where only ``skip`` is concerned."""
    later = set(skip)
    reported = [
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}"
        + ("" if fault["type"] == "missing" else f" (got {_short(fault['input'])})")
        for fault in error.errors(include_url=False)
        if not (fault["loc"] and fault["loc"][0] in later)
    ]
    return f"parameters of {slug}: " + "; ".join(reported) if reported else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
