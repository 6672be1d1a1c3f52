"""The target of a run: the objects that it may write, and what is checked of their names before a submit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, get_args

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.protocol.content_types import EXTENSIONS
from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.protocol.preview_reference import Which, name_of
from airflow_provider_segmind.storage.names import LONGEST_VALUES, QUARANTINE, fill, placeholders
from airflow_provider_segmind.storage.paths import (
    object_path,
    refused_early,
    room_in,
    size_of,
    storage_errors,
    temporary,
    uncached_fs,
)
from airflow_provider_segmind.storage.same_object import is_same, name_in_bucket
from airflow_provider_segmind.storage.sidecar import sidecar_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

_NOT_SENT = "Nothing was submitted."
#: Next step where an output would replace the input of its task.
KEEPS_INPUT = (
    f"{_NOT_SENT} Name another folder, or add to the name: {{stem}}_large.{{ext}}. A task never replaces its input: a "
    "retry would take the output for its input, and be billed again."
)
#: The longest that is appended to the names of several outputs, of a model and of a workflow (``protocol/outputs.py``).
_LONGEST_NUMBER, _LONGEST_NAME = "_99", "_" + "n" * 80 + "_99"
#: Further outputs of a model without a table row whose names are compared with the input's.
_MAY_BE_MORE = 9


@dataclass(frozen=True)
class Target:
    """
    The objects that a run may write.

    :param destination: URI of an object or a folder, with its placeholders.
    :param conn_id: Airflow connection of the storage.
    :param model: the slug.
    :param values: the values of the placeholders that are known before the output is.
    :param keeps_sidecar: a sidecar is written beside each object.
    :param writes_previews: previews are written, too.
    :param named: the outputs are those of a workflow, which names them.
    """

    destination: str
    conn_id: str | None
    model: str
    values: Mapping[str, str]
    keeps_sidecar: bool = False
    writes_previews: bool = False
    named: bool = False

    def path(self, **later: str) -> ObjectStoragePath:
        """Return the destination's path; what only the output decides has the longest value it can have."""
        return object_path(self.uri(**later), self.conn_id)

    def uri(self, **later: str) -> str:
        """Return the destination with its placeholders filled, see :meth:`path`."""
        return fill(self.destination, {**self.values, **LONGEST_VALUES, **later})

    @cached_property
    def is_folder(self) -> bool:
        """True if the run names the object: the URI ends with a slash, or names an existing folder."""
        if self.destination.endswith("/"):
            return True
        path = self.path()
        with refused_early("destination", path):
            return bool(uncached_fs(path).isdir(path.path))

    def object_of(self, name: str, kind: str, suffix: str, *, request_id: str, is_alone: bool) -> ObjectStoragePath:
        """
        Return the object to write: the destination, or an object in it if that is a folder.

        :param name: of the object in a folder, without its extension.
        :param kind: the content type of the output.
        :param suffix: of the object's name, where a request has several outputs.
        :param request_id: of the request.
        :param is_alone: the request has one output: a destination that is an object is its name as it stands.
        :raises SegmindStorageError: the store could not be read.
        """
        extension = EXTENSIONS.get(kind, ".bin")
        path = self.path(request_id=request_id, ext=extension[1:])
        is_folder = self.destination.endswith("/")  # a path drops its last slash; a folder may also exist
        with storage_errors(path):
            if is_folder or uncached_fs(path).isdir(path.path):
                return path / f"{name}{suffix}{extension}"
        return path if is_alone else path.with_name(f"{path.stem}{suffix}{path.suffix}")

    def objects(self, name: str, requested: str | None) -> Iterator[ObjectStoragePath]:
        """
        Yield the possible objects of the first output: the extension follows the output, not the request.

        :param name: of the object in a folder, without its extension.
        :param requested: the extension of the format that is requested, if any: the most likely one.
        """
        if "request_id" in placeholders(self.destination):
            return  # a new request has a new name
        if not self.is_folder and "ext" not in placeholders(self.destination):
            yield self.path()
            return
        model = MODELS.get(self.model)
        possible = model.output_extensions if model else (*EXTENSIONS.values(), ".bin")
        for extension in dict.fromkeys([*filter(None, [requested]), *possible]):
            path = self.path(ext=extension[1:])
            yield path / f"{name}{extension}" if self.is_folder else path

    def check_names(self, name: str) -> None:
        """
        Check the longest names that are written: a paid output that cannot be stored is lost.

        :param name: of the object in a folder, without its extension.
        :raises SegmindConfigError: a name is too long for the store.
        """
        path = self.path()
        if self.is_folder:
            path = path / f"{name}.{LONGEST_VALUES['ext']}"
        path = path.with_name(f"{path.stem}{self._longest_suffix}{path.suffix}")
        quarantined = path.parent / QUARANTINE / LONGEST_VALUES["request_id"] / path.name
        for written in (path, *self._beside(path), temporary(path, "probe"), temporary(quarantined, "probe")):
            check_name(written)

    def check_not_input(
        self, name: str, requested: str | None, inputs: Iterable[ObjectStoragePath | str], *, next_step: str
    ) -> None:
        """
        Check that nothing that is written replaces an input.

        :param name: of the object in a folder, without its extension.
        :param requested: see :meth:`objects`.
        :param inputs: the input's path, or the URLs among the parameters.
        :param next_step: what to do, for the message.
        :raises SegmindConfigError: an object is, or may become, the input itself.
        """
        bucket = self.path()
        inputs = [one for one in inputs if not isinstance(one, str) or name_in_bucket(one, bucket)]
        for path in self._written(name, requested) if inputs else ():
            for one in inputs:
                if name_in_bucket(one, path) == path.path if isinstance(one, str) else is_same(path, one):
                    raise SegmindConfigError(
                        f"destination: {path} is the input itself, or may become it", next_step=next_step
                    )

    @property
    def _longest_suffix(self) -> str:
        """The longest suffix of a further output of one request; an upscaler has one output."""
        if self.named:
            return _LONGEST_NAME
        return "" if self.model in MODELS else _LONGEST_NUMBER

    def _written(self, name: str, requested: str | None) -> Iterator[ObjectStoragePath]:
        more = 0 if self.model in MODELS else _MAY_BE_MORE
        for path in self.objects(name, requested):
            for suffix in ("", *(f"_{number}" for number in range(1, more + 1))):
                written = path.with_name(f"{path.stem}{suffix}{path.suffix}")
                yield written
                yield from self._beside(written)

    def _beside(self, path: ObjectStoragePath) -> Iterator[ObjectStoragePath]:
        if self.keeps_sidecar:
            yield sidecar_of(path)
        if self.writes_previews:
            yield from (path.with_name(name_of(path.name, which)) for which in get_args(Which))


def check_name(path: ObjectStoragePath) -> None:
    """Raise SegmindConfigError if the name of an object, or of a folder above it, is too long for the store."""
    for one in (path, *path.parents):
        room, size = room_in(one.parent), size_of(one.name)
        if room is None:
            return
        if size > room:
            raise SegmindConfigError(
                f"destination: a name has {size} bytes, and the store allows {max(0, room)} there: {one}",
                next_step=f"{_NOT_SENT} Shorten the destination; {{stem}} is the input's name, {{request_id}} has "
                "36 bytes.",
            )
