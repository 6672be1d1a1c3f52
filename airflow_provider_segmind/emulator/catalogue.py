"""The models of the emulator: what each accepts, and what each costs.

The parameters are those of Segmind's model pages. The costs are invented and fixed, so that tests can
count credits; they are unrelated to Segmind's prices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .pixels import Upscale

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RETIRED = "retired-model"
FORBIDDEN = "forbidden-model"


class RefusedError(Exception):
    """The gateway refuses the call with an error status."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Parameter:
    """One parameter of a model, as the model's page describes it."""

    name: str
    kind: Literal["string", "integer", "boolean"]
    default: Any = None
    required: bool = False
    allowed: tuple[Any, ...] = ()
    minimum: int | None = None
    maximum: int | None = None

    def read(self, value: Any) -> Any:
        """Return the value that the model receives, or refuse it with 406, before the model runs."""
        read: Any = {"string": _string, "integer": _integer, "boolean": _boolean}[self.kind](value)
        if read is None:
            raise RefusedError(406, f"Invalid value for {self.name}: expected {self.kind}")
        if self.allowed and read not in self.allowed:
            raise RefusedError(406, f"Invalid value for {self.name}: must be one of {list(self.allowed)}")
        if self.minimum is not None and read < self.minimum:
            raise RefusedError(406, f"Invalid value for {self.name}: must be at least {self.minimum}")
        if self.maximum is not None and read > self.maximum:
            raise RefusedError(406, f"Invalid value for {self.name}: must be at most {self.maximum}")
        return read


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _integer(value: Any) -> int | None:
    """Return an integer; strings of digits are accepted, because the page of ``esrgan`` sends ``scale="2"``."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return int(value) if value.strip().isdecimal() else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) else None


def _boolean(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value if isinstance(value, bool) else None


@dataclass(frozen=True)
class Model:
    """One model: its price in USD, the kind of its output, and its parameters."""

    slug: str
    cost: float
    makes: Literal["image", "text", "video", "audio", "generic"]
    parameters: tuple[Parameter, ...] = ()
    takes_base64: bool = False
    """Whether its page accepts base64 for ``image``; any other model with an image accepts a URL only."""

    def read(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters with defaults filled in. Unknown ones are accepted, as by the gateway."""
        values = dict(body)
        for parameter in self.parameters:
            if values.get(parameter.name) is not None:
                values[parameter.name] = parameter.read(values[parameter.name])
            elif parameter.required:
                raise RefusedError(400, f"Missing required field: {parameter.name}")
            else:
                values[parameter.name] = parameter.default
        if self.makes == "image" and not self.takes_base64 and not _is_url(values["image"]):
            raise RefusedError(406, "Invalid value for image: must be a URL")
        return values


def _is_url(value: Any) -> bool:
    return isinstance(value, str) and value[:8].lower().startswith(("http://", "https://"))


_IMAGE = Parameter("image", "string", required=True)

KNOWN: tuple[Model, ...] = (
    Model(
        "esrgan",
        cost=0.005,
        makes="image",
        parameters=(
            _IMAGE,
            Parameter("scale", "integer", 2, allowed=(2, 4, 8)),
            Parameter("output_format", "string", "jpeg", allowed=("jpeg", "png", "webp")),
            Parameter("quality", "integer", 95, minimum=10, maximum=100),
        ),
    ),
    Model(
        "nomos-upscaler",
        cost=0.01,
        makes="image",
        parameters=(
            _IMAGE,
            Parameter("image_format", "string", "png", allowed=("png", "jpg", "jpeg", "webp")),
            Parameter("image_quality", "integer", 90, minimum=1, maximum=100),
            Parameter("base64", "boolean", default=False),
        ),
        takes_base64=True,
    ),
    Model(
        "bria-increase-resolution",
        cost=0.04,
        makes="image",
        parameters=(
            _IMAGE,
            Parameter("desired_increase", "integer", 4, allowed=(2, 4)),
            Parameter("preserve_alpha", "boolean", default=True),
            Parameter("visual_input_content_moderation", "boolean", default=False),
            Parameter("visual_output_content_moderation", "boolean", default=False),
        ),
    ),
    Model("echo-model", cost=0.001, makes="text"),
    Model("video-model", cost=0.25, makes="video"),
    Model("audio-model", cost=0.02, makes="audio"),
)
WORKFLOW_COST = 0.05
GENERIC_COST = 0.02


class Catalogue:
    """The models by slug; an unknown, retired or forbidden slug is refused with 404, 410 or 403."""

    def __init__(self, extra_models: Iterable[str] = ()) -> None:
        self._models = {model.slug: model for model in KNOWN}
        for slug in extra_models:
            self._models.setdefault(slug, Model(slug, cost=GENERIC_COST, makes="generic"))

    def find(self, slug: str) -> Model:
        """Return the model of a slug, or refuse it."""
        if slug == RETIRED:
            raise RefusedError(410, f"Model {slug} has been retired")
        if slug == FORBIDDEN:
            raise RefusedError(403, f"Your account is not allowed to call {slug}")
        if slug not in self._models:
            raise RefusedError(404, f"Model {slug} not found")
        return self._models[slug]

    @staticmethod
    def workflow(slug: str) -> Model:
        """Return a PixelFlow. Users choose the slugs, so any slug is accepted."""
        return Model(slug, cost=WORKFLOW_COST, makes="generic")


def plan(model: Model, values: Mapping[str, Any]) -> Upscale | None:
    """Return the work to do on the input image; None if the model does not make an image from one."""
    if model.makes == "generic":  # checked first, because a workflow may have the slug of a model
        image = next((value for value in values.values() if _is_image(value)), None)
        return None if image is None else Upscale(image, 2, "png")
    if model.slug == "esrgan":
        return Upscale(values["image"], values["scale"], values["output_format"], values["quality"])
    if model.slug == "nomos-upscaler":
        return Upscale(
            values["image"], 4, values["image_format"], values["image_quality"], accept_base64=model.takes_base64
        )
    if model.slug == "bria-increase-resolution":
        return Upscale(values["image"], values["desired_increase"], "png", keep_alpha=values["preserve_alpha"])
    return None


def _is_image(value: Any) -> bool:
    return _is_url(value) or (isinstance(value, str) and value.startswith("data:image/"))


def moderation(model: Model, values: Mapping[str, Any]) -> str | None:
    """Return why the content filter rejects this request: its input's file name contains ``blocked``; or None."""
    if model.slug != "bria-increase-resolution" or model.makes != "image":
        return None
    if "blocked" not in str(values["image"]).partition("?")[0].rpartition("/")[2].lower():
        return None
    for side in ("input", "output"):
        if values[f"visual_{side}_content_moderation"]:
            return f"Content moderation failed for the {side} image"
    return None
