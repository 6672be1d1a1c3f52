"""
The table of typed models: everything this package knows about each of the three upscalers.

Sources: the models' pages, and the vendor's public catalogue (August 2026) for ``expected_seconds`` and
``usd_per_request``. Any other slug runs as well, with parameters that are not checked.

To add a model, add its class here and to :data:`MODELS`, and its operator to ``operators/segmind.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.protocol.parameter_types import AS_NUMBER, image_source

#: Stands for an image that is still to be read or uploaded, while the other parameters are validated.
PENDING_IMAGE = "https://upload.invalid/"
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def model_page(slug: str) -> str:
    """Return the address of a model's page."""
    return f"https://www.segmind.com/models/{quote(slug, safe='')}"


class ModelParameters(BaseModel):
    """
    One typed model: its parameters as fields, everything else about it as class attributes.

    ``slug`` is the model's name in URLs, ``title`` its name for people, and ``operator`` the public name of its
    operator. ``takes_base64`` is True if its page allows base64 in ``image``: any other takes a URL only.
    ``expected_seconds`` (per request) and ``usd_per_request`` are averages over all of Segmind's users.
    ``format_parameter`` is the parameter that chooses the output's format, if there is one, and ``output_extensions``
    are the extensions that its outputs may have. ``scale_parameter`` is the parameter that states by how much width and
    height grow; None if the page states none. ``same_above`` is the score (0 to 1) of ``storage.comparison`` from which
    on an output shows the same image as its input; it is lower for models that add more detail of their own.

    Unknown parameters are refused.
    """

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, str_strip_whitespace=True)

    slug: ClassVar[str]
    title: ClassVar[str]
    operator: ClassVar[str]
    takes_base64: ClassVar[bool] = False
    expected_seconds: ClassVar[float | None]
    usd_per_request: ClassVar[float]
    format_parameter: ClassVar[str | None]
    scale_parameter: ClassVar[str | None] = None
    same_above: ClassVar[float | None] = None
    output_extensions: ClassVar[tuple[str, ...]] = (".jpg", ".png", ".webp")

    @field_validator("image", check_fields=False)
    @classmethod
    def _image(cls, value: str) -> str:
        return image_source(value, takes_base64=cls.takes_base64, operator=cls.operator)

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the submit: every parameter, defaults included."""
        return self.model_dump(mode="json")


class EsrganParameters(ModelParameters):
    """ESRGAN. Page: https://www.segmind.com/models/esrgan."""

    slug: ClassVar[str] = "esrgan"
    title: ClassVar[str] = "ESRGAN"
    operator: ClassVar[str] = "SegmindEsrganOperator"
    expected_seconds: ClassVar[float | None] = 4.93
    usd_per_request: ClassVar[float] = 0.00466
    format_parameter: ClassVar[str | None] = "output_format"
    scale_parameter: ClassVar[str | None] = "scale"
    same_above: ClassVar[float | None] = 0.6

    image: str
    scale: Annotated[Literal[2, 4, 8], AS_NUMBER] = 2
    output_format: Literal["jpeg", "png", "webp"] = "jpeg"
    quality: Annotated[int, AS_NUMBER, Field(ge=10, le=100)] = 95


class NomosUpscalerParameters(ModelParameters):
    """Nomos Image Upscaler 4k. Page: https://www.segmind.com/models/nomos-upscaler."""

    slug: ClassVar[str] = "nomos-upscaler"
    title: ClassVar[str] = "Nomos Image Upscaler 4k"
    operator: ClassVar[str] = "SegmindNomosUpscalerOperator"
    takes_base64: ClassVar[bool] = True
    expected_seconds: ClassVar[float | None] = 9.09
    usd_per_request: ClassVar[float] = 0.01155
    format_parameter: ClassVar[str | None] = "image_format"
    same_above: ClassVar[float | None] = 0.55

    image: str
    image_format: Literal["png", "jpg", "jpeg", "webp"] = "png"
    image_quality: Annotated[int, AS_NUMBER, Field(ge=1, le=100)] = 90
    base64: bool = False  # the page's own name; it hides nothing of BaseModel


class BriaIncreaseResolutionParameters(ModelParameters):
    """
    Bria Increase Resolution. Page: https://www.segmind.com/models/bria-increase-resolution.

    The page gives ``image`` a sample URL as its default. It is required here, so that a forgotten argument does not
    upscale the sample and bill it.
    """

    slug: ClassVar[str] = "bria-increase-resolution"
    title: ClassVar[str] = "Bria Increase Resolution"
    operator: ClassVar[str] = "SegmindBriaIncreaseResolutionOperator"
    expected_seconds: ClassVar[float | None] = 12.52
    usd_per_request: ClassVar[float] = 0.03676
    format_parameter: ClassVar[str | None] = None
    scale_parameter: ClassVar[str | None] = "desired_increase"
    same_above: ClassVar[float | None] = 0.55

    image: str
    desired_increase: Annotated[Literal[2, 4], AS_NUMBER] = 4
    preserve_alpha: bool = True
    visual_input_content_moderation: bool = False
    visual_output_content_moderation: bool = False


#: The typed models by slug.
MODELS: dict[str, type[ModelParameters]] = {
    model.slug: model for model in (EsrganParameters, NomosUpscalerParameters, BriaIncreaseResolutionParameters)
}


def scale_of(slug: str, parameters: Mapping[str, Any]) -> int:
    """Return the factor by which width and height grow; 1 if the model's page, or the parameters, state none."""
    name = model.scale_parameter if (model := MODELS.get(slug)) else None
    return int(parameters.get(name) or 1) if name else 1


def check_slug(slug: Any) -> str:
    """Return the slug if it can be used in a URL's path; raise SegmindConfigError otherwise."""
    if not isinstance(slug, str) or not _SLUG.fullmatch(slug):
        raise SegmindConfigError(
            f"{slug!r:.100} is not a model slug: use the last part of the model page's address, such as 'esrgan'"
        )
    return slug


def request_body(slug: str, parameters: Mapping[str, Any], *, workflow: bool = False) -> dict[str, Any]:
    """
    Return the JSON body of a submit.

    :param slug: the model. Parameters of the typed models are validated; any other model takes any dict.
    :param parameters: the model's parameters by name.
    :param workflow: True if the slug is that of a PixelFlow workflow, which takes any dict (default False).
    :raises SegmindConfigError: a parameter is missing, unknown, of the wrong type or out of range.
    """
    model = None if workflow and check_slug(slug) else MODELS.get(check_slug(slug))
    if not isinstance(parameters, Mapping):
        raise SegmindConfigError(f"`parameters` must be a dict of names and values (got {_short(parameters)})")
    if model is None:
        try:
            json.dumps(dict(parameters), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise SegmindConfigError(f"the parameters of {slug} cannot be sent as JSON: {error}") from None
        return dict(parameters)
    try:
        return model.model_validate(dict(parameters)).body()
    except ValidationError as error:
        raise SegmindConfigError(describe(slug, error)) from None


def check_known(slug: str, parameters: Mapping[str, Any], *, pending: Iterable[str] = ()) -> None:
    """
    Validate the parameters that are final already, before the others are rendered.

    :param slug: the model.
    :param parameters: the final parameters by name.
    :param pending: names of parameters that are rendered later; they are not checked.
    :raises SegmindConfigError: as :func:`request_body`.
    """
    model = MODELS.get(slug)
    if model is None:
        return
    later = set(pending)
    try:
        model.model_validate({name: value for name, value in parameters.items() if name not in later})
    except ValidationError as error:
        if faults := describe(slug, error, skip=later):
            raise SegmindConfigError(faults) from None


def describe(slug: str, error: ValidationError, *, skip: Iterable[str] = ()) -> str:
    """Return which parameters are wrong and which values they take; '' if only parameters in ``skip`` are wrong."""
    later = set(skip)
    faults = [
        f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}"
        + ("" if fault["type"] == "missing" else f" (got {_short(fault['input'])})")
        for fault in error.errors(include_url=False)
        if not (fault["loc"] and fault["loc"][0] in later)
    ]
    return f"parameters of {slug}: " + "; ".join(faults) if faults else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
