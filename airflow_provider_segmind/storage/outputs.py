"""
Outputs: download the outputs of a result, verify them, and store them whole.

``destination=`` of the operators, the transfer, the batch and the CLI all use :func:`store_result`.
"""

from __future__ import annotations

import hashlib
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

from airflow_provider_segmind.exceptions import SegmindImageMismatchError, SegmindOutputError, SegmindStorageError
from airflow_provider_segmind.protocol.content_types import type_of_name
from airflow_provider_segmind.protocol.formats import is_misnamed
from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.protocol.outputs import output_files
from airflow_provider_segmind.storage.colours import is_converted
from airflow_provider_segmind.storage.expected import Expected
from airflow_provider_segmind.storage.fetching import Fetched, fetch
from airflow_provider_segmind.storage.limits import MAX_BYTES
from airflow_provider_segmind.storage.metadata import copy_metadata
from airflow_provider_segmind.storage.names import QUARANTINE, safe
from airflow_provider_segmind.storage.publication import attributes_of, publish, publish_text, remove
from airflow_provider_segmind.storage.sidecar import sidecar_of, sidecars
from airflow_provider_segmind.storage.target import Target
from airflow_provider_segmind.storage.verification import image_size

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.wire import Result
    from airflow_provider_segmind.storage.comparison import Comparison
    from airflow_provider_segmind.storage.preview_writer import PreviewWriter
    from airflow_provider_segmind.storage.sidecar import About

log = logging.getLogger(__name__)

#: Parts of the metadata that are the input's when they were written.
_COPIED = {"none": (), "icc": ("icc", "orientation"), "all": ("icc", "orientation", "exif", "xmp", "iptc", "text")}


@dataclass(frozen=True)
class StoredObject:
    """
    One object in storage.

    ``width`` and ``height`` (pixels) are None if it is not an image, ``name`` if it is not an output of a workflow,
    ``similarity`` (0 to 1) if it was not compared with its input, ``metadata`` if none was copied or corrected,
    ``preview`` if no preview was written.
    """

    uri: str
    bytes: int
    sha256: str
    content_type: str
    width: int | None = None
    height: int | None = None
    name: str | None = None
    similarity: float | None = None
    metadata: list[str] | None = None
    preview: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the object as JSON, as XCom has it under ``stored``."""
        optional = ("name", "similarity", "metadata", "preview")
        return {key: value for key, value in asdict(self).items() if key not in optional or value is not None}


def store_result(
    hook: SegmindHook,
    result: Result,
    destination: str,
    *,
    conn_id: str | None = None,
    name: str,
    max_bytes: int = MAX_BYTES,
    expected: Expected = Expected(),  # noqa: B008  it is frozen
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
    :param expected: what each output has to be; default: whole.
    :param names: values of further placeholders.
    :param if_exists: ``fail`` to leave a different object as it is; an identical one is never written again.
    :param about: write a sidecar (``<object>.json``) with this information beside each object; default: no sidecar.
    :param previews: writes previews beside each image; default: no previews.
    :raises SegmindOutputError: the output is not what was expected, or must not replace another object.
    :raises SegmindImageMismatchError: the output is another image than its input; it is in ``.quarantine``.
    :raises SegmindStorageError: an object could not be written.
    """
    target = Target(destination, conn_id, result.model, {**(names or {}), "model": result.model})
    target.path()  # an unusable URI is reported before the download
    must_be_image = result.model in MODELS and not result.named
    sources = output_files(result)
    stored: list[StoredObject] = []
    paths: list[ObjectStoragePath] = []
    for source in sources:
        with ExitStack() as files, _about(result.request_id):
            wanted = expected if source is sources[0] else Expected(expected.verify)  # others may be thumbnails
            fetched = fetch(
                hook, source, _file(files), max_bytes=max_bytes, must_be_image=must_be_image, expected=wanted
            )
            path = target.object_of(
                name, fetched.content_type, source.suffix, request_id=result.request_id, is_alone=len(sources) == 1
            )
            compared = _compared(fetched, path, result, wanted)
            final, kept = _with_metadata(fetched, _file(files), wanted, compared)
            if about is not None and if_exists == "overwrite":
                remove(sidecar_of(path))  # it may describe the object that is replaced
            _publish(final, path, result, if_exists=if_exists)
            preview = previews.write(path, final.file, first=not paths) if previews and final.pixels else None
        paths.append(path)
        similarity = round(compared.score, 3) if compared and expected.compares else None
        stored.append(
            _stored(path, final, name=source.name, similarity=similarity, metadata=kept or None, preview=preview)
        )
    if about is not None:
        with _about(result.request_id):
            for path, sidecar in zip(paths, sidecars(result, [item.to_dict() for item in stored], about), strict=True):
                publish_text(sidecar.model_dump_json(indent=2), sidecar_of(path), kind="application/json")
    return stored


def _file(files: ExitStack) -> BinaryIO:
    return files.enter_context(tempfile.TemporaryFile(prefix="segmind-"))


@contextmanager
def _about(request_id: str) -> Iterator[None]:
    """Name the request in errors about its output."""
    try:
        yield
    except (SegmindOutputError, SegmindStorageError) as error:
        error.request_id = request_id
        raise


def _compared(output: Fetched, path: ObjectStoragePath, result: Result, expected: Expected) -> Comparison | None:
    """Compare an image with its input, and put another image into ``.quarantine`` instead of its name."""
    compared = expected.compared(output.copy or output.file) if output.pixels else None
    if compared is None or not expected.is_another(compared):
        return compared
    kept = path.parent / QUARANTINE / safe(result.request_id) / path.name
    try:
        _publish(output, kept, result)
        where = str(kept)
    except SegmindStorageError as error:  # the verdict is more important
        where = f"{result.output or 'inside the response'}; it was not kept in {QUARANTINE}: {error.detail}"
    raise SegmindImageMismatchError(
        f"score {compared.score:.2f}, at least {expected.same_above:.2f} is required ({compared.explanation}). "
        f"Output: {where}. Input: {expected.input_name}"
    )


def _with_metadata(
    output: Fetched, target: BinaryIO, expected: Expected, compared: Comparison | None
) -> tuple[Fetched, list[str]]:
    """
    Return an output with the metadata of its input, and the parts of it that are kept; the pixels do not change.

    What the output itself has is corrected, too: an orientation by which it would be turned twice, a position on Earth.

    :param output: the output.
    :param target: an empty file.
    :param expected: has the input, and which metadata is kept.
    :param compared: whether the output is upright; None if it is not known to be turned.
    """
    keep, source = expected.keep_metadata, expected.source
    if output.pixels is None or not expected.is_upscale or (source is None and keep == "all"):
        return output, []
    if source is None:  # whether the output is turned is not known
        keep, upright = "none", None
    else:
        upright = True if compared is None else compared.upright
    content = io.BytesIO(source or b"")
    same_colours = keep == "none" or not is_converted(
        content, output.copy or output.file, copy=lambda: expected.source_copy
    )
    written = copy_metadata(content, output.file, target, keep=keep, upright=upright, same_colours=same_colours)
    if not written:
        return output, []
    target.seek(0)
    sha256 = hashlib.file_digest(cast("io.BufferedRandom", target), "sha256").hexdigest()
    final = replace(output, file=target, bytes=target.tell(), sha256=sha256, pixels=image_size(target))
    return final, [part for part in written if part in _COPIED[keep]]


def _publish(output: Fetched, path: ObjectStoragePath, result: Result, *, if_exists: str = "overwrite") -> None:
    attributes = attributes_of(path, output.content_type, _metadata(result, output.sha256))
    publish(output.file, path, size=output.bytes, sha256=output.sha256, attributes=attributes, if_exists=if_exists)


def _stored(path: ObjectStoragePath, output: Fetched, **optional: Any) -> StoredObject:
    width, height = output.pixels or (None, None)
    kind = output.content_type
    log.info("Stored %s: %d bytes of %s, %s x %s pixels", path, output.bytes, kind, width, height)
    if is_misnamed(path.name, kind):
        promised = type_of_name(path.name) or "another format"
        log.warning("%s has the extension of %s, but is %s: write {ext} as the extension", path.name, promised, kind)
    if optional["similarity"] is not None:
        log.info("It is the same image as its input: score %.3f", optional["similarity"])
    return StoredObject(str(path), output.bytes, output.sha256, output.content_type, width, height, **optional)


def _metadata(result: Result, sha256: str) -> dict[str, str]:
    found = {"model": result.model, "request-id": result.request_id, "cost": result.metrics.cost, "sha256": sha256}
    return {f"segmind-{name}": str(value) for name, value in found.items() if value is not None}
