"""The format of an output: what its object's extension selects, and what contradicts it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.protocol.content_types import EXTENSIONS, SPELLINGS, is_media
from airflow_provider_segmind.protocol.models import MODELS, ModelParameters

#: Further extensions of images -> the usual extension of the format, or itself.
_SPELLINGS = SPELLINGS | {
    extension: extension for extension in (".ico", ".jp2", ".jxl", ".psd", ".dds", ".ppm", ".tga", ".pdf", ".eps")
}
_MEDIA = {extension: extension for kind, extension in EXTENSIONS.items() if is_media(kind)} | _SPELLINGS
#: Name of a format, as the models' pages write it -> extension.
_FORMATS = {extension[1:]: extension for model in MODELS.values() for extension in model.output_extensions} | {
    "jpeg": ".jpg"
}
_FORMAT_PARAMETERS = tuple(model.format_parameter for model in MODELS.values() if model.format_parameter)


def requested_extension(parameters: Mapping[str, Any]) -> str | None:
    """Return the extension (``.png``) of the format that parameters request, or None if they request none."""
    requested = next((parameters[name] for name in _FORMAT_PARAMETERS if parameters.get(name)), None)
    return _FORMATS.get(str(requested))


def format_of_name(uri: str) -> str | None:
    """
    Return the usual extension of the format that an object's name promises: ``.jpg`` for ``a/B.JPEG``.

    :param uri: URI of an object, with its placeholders filled or not.
    :return: None for a folder, for a name without an extension, and for one that names no medium (``.out``).
    """
    stem, dot, extension = uri.rpartition("/")[2].rpartition(".")
    return _MEDIA.get(f".{extension}".lower()) if stem and dot else None


def is_misnamed(uri: str, kind: str) -> bool:
    """Return whether the extension of an object's name promises another format than its content type."""
    promised = format_of_name(uri)
    return promised is not None and promised != EXTENSIONS.get(kind)


def with_format(slug: str, parameters: Mapping[str, Any], uri: str | None) -> dict[str, Any]:
    """
    Return the parameters with the format that the extension of the destination selects.

    A format that is None counts as missing. If the destination has no extension of an image either, it is left out, and
    the model's default applies.

    :param slug: the model; the parameters of one that is not in the table are returned as they are.
    :param parameters: as given.
    :param uri: the destination; None if it is not set.
    :raises SegmindConfigError: the model cannot write this extension, or the given format contradicts it.
    """
    model = MODELS.get(slug)
    if model is None:
        return dict(parameters)
    name = model.format_parameter
    found = {key: value for key, value in parameters.items() if key != name or value is not None}
    extension = format_of_name(uri) if isinstance(uri, str) else None
    if extension is None:
        return found
    if extension not in model.output_extensions:
        raise _not_written(model, str(uri))
    if name is None:
        return found
    if name not in found:
        return found | {name: _name_of_format(model, name, extension)}
    given = _FORMATS.get(str(found[name]).strip(), extension)
    if given != extension:  # what is not a format is refused with the other parameters
        raise SegmindConfigError(
            f"destination: {uri} has the extension of another format than {name}={found[name]!r}",
            next_step=f"Nothing was submitted. Leave {name} out: the extension selects the format. Or write "
            "{ext} as the extension: it follows the format.",
        )
    return found


def _name_of_format(model: type[ModelParameters], parameter: str, extension: str) -> str:
    choices: tuple[str, ...] = get_args(model.model_fields[parameter].annotation)
    return next(name for name in choices if _FORMATS[name] == extension)


def _not_written(model: type[ModelParameters], uri: str) -> SegmindConfigError:
    return SegmindConfigError(
        f"destination: {uri} has an extension that {model.slug} cannot write; it writes "
        f"{', '.join(model.output_extensions)}",
        next_step="Nothing was submitted. Name one of these, or write {ext} as the extension: it follows the format. "
        "A folder ends with /.",
    )
