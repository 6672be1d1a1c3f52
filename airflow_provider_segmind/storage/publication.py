"""
Publication: write an object so that readers see a whole one or none.

On S3 by one multipart upload, elsewhere by a temporary object that is moved to its name.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_provider_segmind.exceptions import SegmindOutputError, SegmindStorageError
from airflow_provider_segmind.protocol.urls import canonical_scheme
from airflow_provider_segmind.storage.paths import storage_errors, temporary, uncached_fs

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

_CHUNK = 1 << 20  # bytes copied at a time
_BLOCK = 6 << 20  # bytes of one part of an upload, and of one read; a few of them are in memory at once


def attributes_of(path: ObjectStoragePath, kind: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return content type and metadata as arguments of the filesystem's ``open``; {} if the store keeps none."""
    scheme = canonical_scheme(path.protocol)
    if scheme == "s3":
        return {"ContentType": kind, "Metadata": dict(metadata)}
    if scheme == "gs":
        return {"content_type": kind, "metadata": dict(metadata)}
    return {}


def publish(
    file: BinaryIO,
    path: ObjectStoragePath,
    *,
    size: int,
    sha256: str,
    attributes: Mapping[str, Any] | None = None,
    if_exists: str = "overwrite",
) -> None:
    """
    Write a file to an object that readers see whole or not at all; an identical object is left as it is.

    :param file: the content.
    :param path: the object.
    :param size: bytes of the content.
    :param sha256: of the content, as hex digits.
    :param attributes: what the store keeps with the object, see :func:`attributes_of`; default: nothing.
    :param if_exists: ``fail`` to leave a different object as it is; default: ``overwrite``.
    :raises SegmindOutputError: ``fail``, and there is a different object.
    :raises SegmindStorageError: the object could not be written.
    """
    with storage_errors(path):
        fs = uncached_fs(path)
        if _is_identical(path, size=size, sha256=sha256):
            return
        if if_exists == "fail" and fs.exists(path.path):
            raise SegmindOutputError(
                f"{path} exists already, with a different content",
                next_step="The request was billed. Store its result elsewhere, or set if_exists='overwrite'.",
            )
        if canonical_scheme(path.protocol) == "s3":
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
        raise SegmindStorageError(f"{path}: {written} of {size} bytes were written")


def _upload(fs: Any, file: BinaryIO, path: ObjectStoragePath, attributes: Mapping[str, Any]) -> None:
    """
    Write an object in one multipart upload, which S3 shows only when it is complete.

    A temporary key and a move would copy every byte again. The default block of s3fs, 50 MiB, would be held in memory.
    """
    file.seek(0)
    out = fs.open(path.path, "wb", block_size=_BLOCK, autocommit=False, **attributes)
    try:
        with out:
            shutil.copyfileobj(file, out, _CHUNK)
        out.commit()
    except BaseException:
        out.discard()
        raise
    fs.invalidate_cache(path.parent.path)


def read_bytes(path: ObjectStoragePath) -> bytes | None:
    """Return the content of a small object; None if it is missing."""
    with storage_errors(path):
        fs = uncached_fs(path)
        try:
            with fs.open(path.path, "rb") as file:  # not exists(): it returns False when the store is down
                return bytes(file.read())
        except (FileNotFoundError, NotADirectoryError):
            return None


def publish_text(text: str, path: ObjectStoragePath, *, kind: str = "text/plain") -> None:
    """Write a small text object; readers see the old one or the new one."""
    content = text.encode()
    digest = hashlib.sha256(content).hexdigest()
    publish(io.BytesIO(content), path, size=len(content), sha256=digest, attributes=attributes_of(path, kind, {}))


def sizes_in(folder: ObjectStoragePath) -> dict[str, int]:
    """Return the names and sizes in bytes of the objects in a folder; {} if the folder is missing."""
    with storage_errors(folder):
        try:
            found = folder.fs.ls(folder.path, detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        return {str(one["name"]).rpartition("/")[2]: int(one.get("size") or 0) for one in found}


def _move(fs: Any, source: str, target: str) -> None:
    """
    Move one object.

    The ``mv`` that fsspec's base class defines would treat ``[1]`` in a name as a pattern.
    """
    from fsspec.spec import AbstractFileSystem

    if type(fs).mv is not AbstractFileSystem.mv:
        fs.mv(source, target)
        return
    fs.cp_file(source, target)
    fs.rm_file(source)


def _copy(file: BinaryIO, part: ObjectStoragePath, attributes: Mapping[str, Any]) -> None:
    try:
        out = part.fs.open(part.path, "wb", **attributes)  # path.open() would report the temporary key as lineage
    except FileNotFoundError:  # a filesystem with real folders; object stores have none
        part.fs.makedirs(part.parent.path, exist_ok=True)
        out = part.fs.open(part.path, "wb", **attributes)
    with out:
        shutil.copyfileobj(file, out, _CHUNK)


def _is_identical(path: ObjectStoragePath, *, size: int, sha256: str) -> bool:
    if not path.exists() or path.stat().st_size != size:
        return False
    digest = hashlib.sha256()
    with path.fs.open(path.path, "rb", block_size=_BLOCK) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest() == sha256


def remove(path: ObjectStoragePath) -> None:
    """Remove an object if it exists."""
    with storage_errors(path):
        if uncached_fs(path).exists(path.path):
            path.unlink()
