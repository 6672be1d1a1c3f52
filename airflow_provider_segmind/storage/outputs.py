"""
Outputs: download the outputs of a result, verify them, and store them whole.

``destination=`` of the operators, the transfer, the batch and the CLI all use :func:`store_result`.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from airflow_provider_segmind.exceptions import SegmindOutputError, SegmindStorageError
from airflow_provider_segmind.protocol.content_types import EXTENSIONS, HEAD, content_type, is_image, is_not_announced
from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.protocol.outputs import OutputSource, output_files
from airflow_provider_segmind.storage.limits import MAX_BYTES
from airflow_provider_segmind.storage.names import fill
from airflow_provider_segmind.storage.paths import object_path, storage_errors
from airflow_provider_segmind.storage.publication import attributes_of, publish, publish_text, remove
from airflow_provider_segmind.storage.sidecar import sidecar_of, sidecars
from airflow_provider_segmind.storage.verification import image_size

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.wire import Result
    from airflow_provider_segmind.storage.preview_writer import PreviewWriter
    from airflow_provider_segmind.storage.sidecar import About

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredObject:
    """
    One object in storage.

    ``width`` and ``height`` (pixels) are None if it is not an image, ``name`` if it is not an output of a workflow,
    ``preview`` if no preview was written.
    """

    uri: str
    bytes: int
    sha256: str
    content_type: str
    width: int | None = None
    height: int | None = None
    name: str | None = None
    preview: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the object as JSON, as XCom has it under ``stored``."""
        optional = ("name", "preview")
        return {key: value for key, value in asdict(self).items() if key not in optional or value is not None}


def store_result(
    hook: SegmindHook,
    result: Result,
    destination: str,
    *,
    conn_id: str | None = None,
    name: str,
    max_bytes: int = MAX_BYTES,
    at_least: tuple[int, int] | None = None,
    names: Mapping[str, str] | None = None,
    if_exists: Literal["overwrite", "fail"] = "overwrite",
    about: About | None = None,
    previews: PreviewWriter | None = None,
) -> list[StoredObject]:
    """
    Store every output of a result and return the objects.

    :param hook: fetches the outputs.
    :param result: of the request.
    :param destination: URI of an object, or of a folder (ends with ``/``, or is one): then ``name`` and the
        extension of the actual content type name the object. Further outputs get ``_1``, ``_2``, …, those of a
        workflow ``_`` and their names. Its placeholders (``storage/names.py``) are filled: ``{model}``,
        ``{request_id}``, ``{ext}``, and those of ``names``.
    :param conn_id: Airflow connection of the storage.
    :param name: file name without extension for a folder.
    :param max_bytes: refuse a larger output (bytes).
    :param at_least: width and height of the input in pixels, if known: an upscaled image is not smaller.
    :param names: values of further placeholders.
    :param if_exists: ``fail`` to leave a different object as it is; an identical one is never written again.
    :param about: write a sidecar (``<object>.json``) with this information beside each object; default: no sidecar.
    :param previews: writes previews beside each image; default: no previews.
    :raises SegmindOutputError: the output is not a whole image, is too small or too large, or must not replace another.
    :raises SegmindStorageError: an object could not be written.
    """
    values = {**(names or {}), "model": result.model, "request_id": result.request_id}
    object_path(fill(destination, {**values, "ext": "bin"}), conn_id)  # an unusable URI is reported before the download
    must_be_image = result.model in MODELS and not result.named
    sources = output_files(result)
    stored: list[StoredObject] = []
    paths: list[ObjectStoragePath] = []
    for source in sources:
        with tempfile.TemporaryFile(prefix="segmind-") as file, _about(result.request_id):
            size, sha256, claimed = _fetch(hook, source.content, file, max_bytes)
            kind, pixels = _inspect(file, source, claimed, must_be_image=must_be_image, at_least=at_least)
            uri = fill(destination, {**values, "ext": EXTENSIONS.get(kind, ".bin")[1:]})
            target = object_path(uri, conn_id)
            path = _object_name(target, uri.endswith("/"), name, source.suffix, kind, alone=len(sources) == 1)
            if about is not None and if_exists == "overwrite":
                remove(sidecar_of(path))  # it may describe the object that is replaced
            publish(
                file,
                path,
                size=size,
                sha256=sha256,
                attributes=attributes_of(path, kind, _metadata(result, sha256)),
                if_exists=if_exists,
            )
            preview = previews.write(path, file, first=not paths) if previews and pixels != (None, None) else None
        paths.append(path)
        stored.append(StoredObject(str(path), size, sha256, kind, *pixels, name=source.name, preview=preview))
        log.info("Stored %s: %d bytes of %s, %s x %s pixels", path, size, kind, *pixels)
    if about is not None:
        with _about(result.request_id):
            for path, sidecar in zip(paths, sidecars(result, [item.to_dict() for item in stored], about), strict=True):
                publish_text(sidecar.model_dump_json(indent=2), sidecar_of(path), kind="application/json")
    return stored


@contextmanager
def _about(request_id: str) -> Iterator[None]:
    """Name the request in errors about its output."""
    try:
        yield
    except (SegmindOutputError, SegmindStorageError) as error:
        error.request_id = request_id
        raise


def _fetch(hook: SegmindHook, source: str | bytes, file: BinaryIO, max_bytes: int) -> tuple[int, str, str | None]:
    """Write an output to the file and return its size in bytes, SHA-256 and claimed content type."""
    if isinstance(source, str):
        fetched = hook.download(source, file, max_bytes=max_bytes)
        return fetched.bytes, fetched.sha256, fetched.content_type
    if len(source) > max_bytes:
        raise SegmindOutputError(f"it has {len(source)} bytes, more than the {max_bytes} allowed")
    file.write(source)
    return len(source), hashlib.sha256(source).hexdigest(), None


def _inspect(
    file: BinaryIO,
    source: OutputSource,
    claimed: str | None,
    *,
    must_be_image: bool,
    at_least: tuple[int, int] | None,
) -> tuple[str, tuple[int | None, int | None]]:
    """Return the actual content type and the size in pixels; raise SegmindOutputError if it is not whole."""
    if source.text:
        return source.text, (None, None)
    file.seek(0)
    head = file.read(HEAD)
    if not is_image(head):
        if must_be_image:
            raise SegmindOutputError(
                f"it is not an image: {claimed or 'no content type'}, it begins with {head[:16]!r}"
            )
        if is_not_announced(head, announced := source.announced or claimed):
            raise SegmindOutputError(f"it is not {announced}: {claimed}, beginning with {head[:60]!r}")
        return content_type(head) or claimed or "application/octet-stream", (None, None)
    try:
        width, height = image_size(file, whole=True)
    except SegmindOutputError as error:
        error.retryable = isinstance(
            source.content, str
        )  # a body may be truncated without an error: another try downloads it again
        raise
    if at_least and (width < at_least[0] or height < at_least[1]):
        raise SegmindOutputError(
            f"it has {width} x {height} pixels, fewer than its input: {at_least[0]} x {at_least[1]}"
        )
    return content_type(head) or "application/octet-stream", (width, height)


def _object_name(
    target: ObjectStoragePath, is_folder: bool, name: str, suffix: str, kind: str, *, alone: bool
) -> ObjectStoragePath:
    """Return the path of the object to write: the target, or an object in the target if that is a folder."""
    if not is_folder:  # a path drops its last slash, so the URI is read; a folder may also exist
        with storage_errors(target):
            is_folder = target.fs.isdir(target.path)
    if is_folder:
        return target / f"{name}{suffix}{EXTENSIONS.get(kind, '.bin')}"
    return target.with_name(f"{target.stem}{suffix}{target.suffix}") if suffix and not alone else target


def _metadata(result: Result, sha256: str) -> dict[str, str]:
    found = {"model": result.model, "request-id": result.request_id, "cost": result.metrics.cost, "sha256": sha256}
    return {f"segmind-{name}": str(value) for name, value in found.items() if value is not None}
