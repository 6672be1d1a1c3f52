"""
From an output to a whole object in storage: fetched, proved to be a picture, and only then published.

``destination=`` of the operators and the transfer share this one piece.
"""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from airflow_provider_segmind.exceptions import (
    SegmindOutputError,
    SegmindStorageError,
)
from airflow_provider_segmind.protocol.content_types import EXTENSIONS, HEAD, content_type, is_image, is_not_announced
from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.protocol.outputs import OutputFile, output_files
from airflow_provider_segmind.storage.limits import MAX_BYTES
from airflow_provider_segmind.storage.names import fill
from airflow_provider_segmind.storage.paths import fresh, object_path, storage_errors, temporary
from airflow_provider_segmind.storage.sidecar import sidecar_of, sidecars
from airflow_provider_segmind.storage.verification import image_size

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.wire import Result
    from airflow_provider_segmind.storage.previews import Previews
    from airflow_provider_segmind.storage.sidecar import About

log = logging.getLogger(__name__)

_COPY = 1 << 20  # bytes copied at a time
_BLOCK = 6 << 20  # bytes of one part of an upload, and of one read; a few of them lie in memory
_S3 = ("s3", "s3a", "s3n")


@dataclass(frozen=True)
class StoredObject:
    """
    One object in storage.

    Width and height are None where it is no picture, name where it is no workflow's, preview where none was written.
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
        """Return it as JSON, as it stands in XCom under ``stored``."""
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
    previews: Previews | None = None,
) -> list[StoredObject]:
    """
    Store every output of a result and return the objects.

    :param hook: fetches the outputs.
    :param result: what Segmind answered.
    :param destination: URI of an object, or of a folder (ends with ``/``, or is one): then ``name`` and the
        extension of the actual content type name the object. Further outputs get ``_1``, ``_2``, …, those of a
        workflow ``_`` and their names. Its placeholders (``storage/names.py``) are filled: ``{model}``,
        ``{request_id}``, ``{ext}``, and those of ``names``.
    :param conn_id: Airflow connection of the storage.
    :param name: file name without extension for a folder.
    :param max_bytes: refuse a larger output (bytes).
    :param at_least: width and height of the input in pixels, where known: an upscaled picture is not smaller.
    :param names: values of further placeholders.
    :param if_exists: ``fail`` to leave another object alone; an identical one is always left as it is.
    :param about: write a sidecar (``<object>.json``) beside each object, with this in it; default: none.
    :param previews: write small pictures beside each picture, by this; default: none.
    :raises SegmindOutputError: the output is no whole picture, too small or too large, or must not replace another.
    :raises SegmindStorageError: it could not be written.
    """
    values = {**(names or {}), "model": result.model, "request_id": result.request_id}
    object_path(fill(destination, {**values, "ext": "bin"}), conn_id)  # a bad one is said before the download
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
                remove(sidecar_of(path))  # it may tell of another object than this one
            _publish(
                file,
                path,
                size=size,
                sha256=sha256,
                attributes=_attributes(path, kind, _metadata(result, sha256)),
                if_exists=if_exists,
            )
            seen = previews.write(path, file, first=not paths) if previews and pixels != (None, None) else None
        paths.append(path)
        stored.append(StoredObject(str(path), size, sha256, kind, *pixels, name=source.name, preview=seen))
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
    """Write an output into the file and return its bytes, sha256 and claimed content type."""
    if isinstance(source, str):
        fetched = hook.download(source, file, max_bytes=max_bytes)
        return fetched.bytes, fetched.sha256, fetched.content_type
    if len(source) > max_bytes:
        raise SegmindOutputError(f"it has {len(source)} bytes, more than the {max_bytes} allowed")
    file.write(source)
    return len(source), hashlib.sha256(source).hexdigest(), None


def _inspect(
    file: BinaryIO,
    source: OutputFile,
    claimed: str | None,
    *,
    must_be_image: bool,
    at_least: tuple[int, int] | None,
) -> tuple[str, tuple[int | None, int | None]]:
    """Return the actual content type and the size in pixels; raise SegmindOutputError for what is no whole picture."""
    if source.text:
        return source.text, (None, None)
    file.seek(0)
    head = file.read(HEAD)
    if not is_image(head):
        if must_be_image:
            raise SegmindOutputError(f"it is no picture: {claimed or 'no content type'}, beginning with {head[:16]!r}")
        if is_not_announced(head, announced := source.announced or claimed):
            raise SegmindOutputError(f"it is no {announced}: {claimed}, beginning with {head[:60]!r}")
        return content_type(head) or claimed or "application/octet-stream", (None, None)
    try:
        width, height = image_size(file, whole=True)
    except SegmindOutputError as error:
        error.retryable = isinstance(source.content, str)  # a body may be cut without a word: another try asks again
        raise
    if at_least and (width < at_least[0] or height < at_least[1]):
        raise SegmindOutputError(f"it has {width} x {height} pixels, its input {at_least[0]} x {at_least[1]}")
    return content_type(head) or "application/octet-stream", (width, height)


def _object_name(
    target: ObjectStoragePath, is_folder: bool, name: str, suffix: str, kind: str, *, alone: bool
) -> ObjectStoragePath:
    """Return the object to write: the target itself, or a named one in the folder that it names."""
    if not is_folder:  # a path drops its last slash, so only the URI tells; a folder that is there tells, too
        with storage_errors(target):
            is_folder = target.fs.isdir(target.path)
    if is_folder:
        return target / f"{name}{suffix}{EXTENSIONS.get(kind, '.bin')}"
    return target.with_name(f"{target.stem}{suffix}{target.suffix}") if suffix and not alone else target


def _metadata(result: Result, sha256: str) -> dict[str, str]:
    found = {"model": result.model, "request-id": result.request_id, "cost": result.metrics.cost, "sha256": sha256}
    return {f"segmind-{name}": str(value) for name, value in found.items() if value is not None}


def _attributes(path: ObjectStoragePath, kind: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what a store keeps with an object, as arguments of its ``open``; {} for one that keeps nothing."""
    if path.protocol in _S3:
        return {"ContentType": kind, "Metadata": dict(metadata)}
    if path.protocol in ("gs", "gcs"):
        return {"content_type": kind, "metadata": dict(metadata)}
    return {}


def _publish(
    file: BinaryIO,
    path: ObjectStoragePath,
    *,
    size: int,
    sha256: str,
    attributes: Mapping[str, Any] | None = None,
    if_exists: str = "overwrite",
) -> None:
    """Write so that readers see a whole object or none: all at once, or by a move. An identical one is left alone."""
    with storage_errors(path):
        fs = fresh(path)
        if _same(path, size=size, sha256=sha256):
            return
        if if_exists == "fail" and fs.exists(path.path):
            raise SegmindOutputError(
                f"another object is there already: {path}",
                next_step="The request was billed: store its result elsewhere, or allow if_exists='overwrite'.",
            )
        if path.protocol in _S3:
            _upload(fs, file, path, attributes or {})
            _check_size(path, size)
            return
        part = temporary(path, "part")
        try:
            file.seek(0)
            _copy(file, part, attributes or {})
            _check_size(part, size)
            _move(fs, part.path, path.path)
        finally:
            if part.exists():
                part.unlink()


def _check_size(path: ObjectStoragePath, size: int) -> None:
    if (written := path.stat().st_size) != size:
        raise SegmindStorageError(f"{path}: {written} of {size} bytes arrived")


def _upload(fs: Any, file: BinaryIO, path: ObjectStoragePath, attributes: Mapping[str, Any]) -> None:
    """
    Write an object in one multipart upload, which S3 shows when it is complete, and not before.

    A temporary key and a move would copy every byte once more; s3fs's own block of 50 MiB would lie in memory.
    """
    file.seek(0)
    out = fs.open(path.path, "wb", block_size=_BLOCK, autocommit=False, **attributes)
    try:
        with out:
            shutil.copyfileobj(file, out, _COPY)
        out.commit()
    except BaseException:
        out.discard()
        raise
    fs.invalidate_cache(path.parent.path)


def read_bytes(path: ObjectStoragePath) -> bytes | None:
    """Return a small object, or None where there is none."""
    with storage_errors(path):
        fs = fresh(path)
        try:
            with fs.open(path.path, "rb") as there:  # no exists(): it takes a store that is down for "not there"
                return bytes(there.read())
        except (FileNotFoundError, NotADirectoryError):
            return None


def publish_text(text: str, path: ObjectStoragePath, *, kind: str = "text/plain") -> None:
    """Write a small text object whole: readers see the old one or the new one."""
    content = text.encode()
    digest = hashlib.sha256(content).hexdigest()
    _publish(io.BytesIO(content), path, size=len(content), sha256=digest, attributes=_attributes(path, kind, {}))


def sizes_in(folder: ObjectStoragePath) -> dict[str, int]:
    """Return the names of the objects in a folder with their sizes in bytes; empty if the folder is missing."""
    with storage_errors(folder):
        try:
            found = folder.fs.ls(folder.path, detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        return {str(one["name"]).rpartition("/")[2]: int(one.get("size") or 0) for one in found}


def _move(fs: Any, source: str, target: str) -> None:
    """Move one object. The ``mv`` that filesystems without one of their own inherit takes ``[1]`` for a pattern."""
    from fsspec.spec import AbstractFileSystem

    if type(fs).mv is not AbstractFileSystem.mv:
        fs.mv(source, target)
        return
    fs.cp_file(source, target)
    fs.rm_file(source)


def _copy(file: BinaryIO, part: ObjectStoragePath, attributes: Mapping[str, Any]) -> None:
    try:
        out = part.fs.open(part.path, "wb", **attributes)  # the path's own open reports a lineage of the temporary key
    except FileNotFoundError:  # a filesystem with real folders; object stores need none
        part.fs.makedirs(part.parent.path, exist_ok=True)
        out = part.fs.open(part.path, "wb", **attributes)
    with out:
        shutil.copyfileobj(file, out, _COPY)


def _same(path: ObjectStoragePath, *, size: int, sha256: str) -> bool:
    if not path.exists() or path.stat().st_size != size:
        return False
    digest = hashlib.sha256()
    with path.fs.open(path.path, "rb", block_size=_BLOCK) as there:
        while chunk := there.read(_COPY):
            digest.update(chunk)
    return digest.hexdigest() == sha256


def remove(path: ObjectStoragePath) -> None:
    """Remove an object, if it is there."""
    with storage_errors(path):
        if fresh(path).exists(path.path):
            path.unlink()
