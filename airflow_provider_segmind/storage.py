"""
From an output to a whole object in storage: fetched, proved to be a picture, and only then published.

``destination=`` of the operators and the transfer share this one piece.
"""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
import struct
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_provider_segmind.exceptions import (
    SegmindConfigError,
    SegmindOutputError,
    SegmindStorageError,
)
from airflow_provider_segmind.protocol.models import MODELS, decode_base64
from airflow_provider_segmind.protocol.pictures import EXTENSIONS, HEAD, content_type, is_imposter, is_picture
from airflow_provider_segmind.protocol.sources import Source, sources_of
from airflow_provider_segmind.protocol.wire import is_url

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath
    from PIL import Image

    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.wire import Result

log = logging.getLogger(__name__)

#: Bytes; a larger output is refused. Settable wherever something is stored.
MAX_BYTES = 2 * 1024**3
#: Pixels; a larger picture is checked from its header and structure only, so that memory stays bounded.
_DECODED_PIXELS = 64_000_000
_NOT_SENT = "Nothing was sent yet; check the storage and its connection."
_PILLOW = threading.Lock()
_COPY = 1 << 20  # bytes copied at a time


@dataclass(frozen=True)
class StoredObject:
    """One object in storage; width and height are None where it is no picture, name where it is no workflow's."""

    uri: str
    bytes: int
    sha256: str
    content_type: str
    width: int | None = None
    height: int | None = None
    name: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON, as it stands in XCom under ``stored``."""
        return {key: value for key, value in asdict(self).items() if key != "name" or value is not None}


def object_path(uri: str, conn_id: str | None) -> ObjectStoragePath:
    """
    Return the path that a URI names; called before anything is billed, so that a bad one costs nothing.

    :raises SegmindConfigError: it is no URI, or no installed provider knows its scheme.
    """
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, ObjectStoragePath

    if not isinstance(uri, str) or "://" not in uri:
        raise SegmindConfigError(f"{uri!r:.200} is no URI such as s3://bucket/folder/ or file:///data/out.png")
    scheme = uri.partition("://")[0]
    try:
        path = ObjectStoragePath(uri, conn_id=conn_id)
        path.fs  # noqa: B018  resolves the filesystem, and with it the provider that brings it
    except (ValueError, ImportError, NotImplementedError, AirflowNotFoundException) as error:
        extra = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}.get(scheme)
        hint = f'pip install "airflow-provider-segmind[{extra}]"' if extra else "install the provider for this scheme"
        raise SegmindConfigError(f"{scheme}:// cannot be used here: {error}", next_step=f"Try: {hint}") from error
    return path


def store_result(
    hook: SegmindHook,
    result: Result,
    destination: str,
    *,
    conn_id: str | None = None,
    name: str,
    max_bytes: int = MAX_BYTES,
    at_least: tuple[int, int] | None = None,
) -> list[StoredObject]:
    """
    Store every output of a result and return the objects.

    :param hook: fetches the outputs.
    :param result: what Segmind answered.
    :param destination: URI of an object, or of a folder (ends with ``/``, or is one): then ``name`` and the
        extension of the actual content type name the object. Further outputs get ``_1``, ``_2``, …, those of a
        workflow ``_`` and their names.
    :param conn_id: Airflow connection of the storage.
    :param name: file name without extension for a folder.
    :param max_bytes: refuse a larger output (bytes).
    :param at_least: width and height of the input in pixels, where known: an upscaled picture is not smaller.
    :raises SegmindOutputError: the output is no whole picture, too small or too large.
    :raises SegmindStorageError: it could not be written.
    """
    target = object_path(destination, conn_id)
    must_be_picture = result.model in MODELS and not result.named
    sources = sources_of(result)
    stored = []
    for source in sources:
        with tempfile.TemporaryFile(prefix="segmind-") as file, _about(result.request_id):
            size, sha256, claimed = _fetch(hook, source.content, file, max_bytes)
            kind, pixels = _inspect(file, source, claimed, must_be_picture=must_be_picture, at_least=at_least)
            path = _object_name(target, destination.endswith("/"), name, source.suffix, kind, alone=len(sources) == 1)
            _publish(file, path, size=size, sha256=sha256)
        stored.append(StoredObject(str(path), size, sha256, kind, *pixels, name=source.name))
        log.info("Stored %s: %d bytes of %s, %s x %s pixels", path, size, kind, *pixels)
    return stored


def read_picture(uri: str, conn_id: str | None) -> tuple[bytes, tuple[int, int]]:
    """
    Return an input picture's bytes, and its width and height in pixels.

    :raises SegmindConfigError: it is not there, or is no whole picture; nothing is billed yet.
    :raises SegmindStorageError: it could not be read this time.
    """
    path = object_path(uri, conn_id)
    try:
        content = path.read_bytes()
        return content, picture_size(io.BytesIO(content), whole=True)
    except SegmindOutputError as error:
        raise SegmindConfigError(f"input {path}: {error.detail}") from error
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise SegmindConfigError(f"input {path}: {type(error).__name__}: {error}") from error
    except OSError as error:
        raise SegmindStorageError(f"input {path}: {type(error).__name__}: {error}", next_step=_NOT_SENT) from error


def data_uri_size(image: Any) -> tuple[int, int] | None:
    """Return width and height of a picture that is given as text; None for a URL, and for what is no picture."""
    content = decode_base64(image) if isinstance(image, str) and not is_url(image) else None
    if content is None:
        return None
    try:
        return picture_size(io.BytesIO(content))
    except SegmindOutputError as error:
        raise SegmindConfigError(f"image: {error.detail}") from error


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
    source: Source,
    claimed: str | None,
    *,
    must_be_picture: bool,
    at_least: tuple[int, int] | None,
) -> tuple[str, tuple[int | None, int | None]]:
    """Return the actual content type and the size in pixels; raise SegmindOutputError for what is no whole picture."""
    if source.text:
        return source.text, (None, None)
    file.seek(0)
    head = file.read(HEAD)
    if not is_picture(head):
        if must_be_picture:
            raise SegmindOutputError(f"it is no picture: {claimed or 'no content type'}, beginning with {head[:16]!r}")
        if is_imposter(head, announced := source.announced or claimed):
            raise SegmindOutputError(f"it is no {announced}: {claimed}, beginning with {head[:60]!r}")
        return content_type(head) or claimed or "application/octet-stream", (None, None)
    width, height = picture_size(file, whole=True)
    if at_least and (width < at_least[0] or height < at_least[1]):
        raise SegmindOutputError(f"it has {width} x {height} pixels, its input {at_least[0]} x {at_least[1]}")
    return content_type(head) or "application/octet-stream", (width, height)


def picture_size(file: BinaryIO, *, whole: bool = False) -> tuple[int, int]:
    """
    Return width and height of a picture in pixels.

    :param file: the picture.
    :param whole: also prove that all of it decodes; a very large picture is checked without its pixels.
    :raises SegmindOutputError: it is no picture, or it is truncated.
    """
    try:
        file.seek(0)
        with _opened(file) as picture:
            width, height = picture.size
            if whole and width * height > _DECODED_PIXELS and picture.format != "JPEG":
                picture.verify()
            elif whole:
                if width * height > _DECODED_PIXELS:
                    picture.draft("RGB", (width // 8, height // 8))  # reads all of it, into 1/64 of the memory
                picture.load()
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error) as error:
        raise SegmindOutputError(f"it is no whole picture: {error}") from error
    return width, height


def _opened(file: BinaryIO) -> Image.Image:
    """Open a picture of any size: an 8x upscale is no decompression bomb. Pillow's limit belongs to all threads."""
    from PIL import Image

    with _PILLOW:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _object_name(
    target: ObjectStoragePath, is_folder: bool, name: str, suffix: str, kind: str, *, alone: bool
) -> ObjectStoragePath:
    """Return the object to write: the target itself, or a named one in the folder that it names."""
    if not is_folder:  # a path drops its last slash, so only the URI tells; a folder that is there tells, too
        with _storage_errors(target):
            is_folder = target.fs.isdir(target.path)
    if is_folder:
        return target / f"{name}{suffix}{EXTENSIONS.get(kind, '.bin')}"
    return target.with_name(f"{target.stem}{suffix}{target.suffix}") if suffix and not alone else target


def _publish(file: BinaryIO, path: ObjectStoragePath, *, size: int, sha256: str) -> None:
    """Write to a temporary key, then move: readers see a whole object or none. An identical one is left alone."""
    with _storage_errors(path):
        if _same(path, size=size, sha256=sha256):
            return
        part = path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.part"
        try:
            file.seek(0)
            _copy(file, part)
            if (written := part.stat().st_size) != size:
                raise SegmindStorageError(f"{path}: {written} of {size} bytes arrived")
            path.fs.mv(part.path, path.path)
        finally:
            if part.exists():
                part.unlink()


def read_text(path: ObjectStoragePath) -> str | None:
    """Return a small text object, or None where there is none."""
    with _storage_errors(path):
        return path.read_text(encoding="utf-8") if path.exists() else None


def publish_text(text: str, path: ObjectStoragePath) -> None:
    """Write a small text object whole: readers see the old one or the new one."""
    content = text.encode()
    _publish(io.BytesIO(content), path, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def names_in(folder: ObjectStoragePath) -> set[str]:
    """Return the names of what lies in a folder; none where there is no such folder."""
    with _storage_errors(folder):
        try:
            return {str(found).rpartition("/")[2] for found in folder.fs.ls(folder.path, detail=False, refresh=True)}
        except FileNotFoundError:
            return set()


def _copy(file: BinaryIO, part: ObjectStoragePath) -> None:
    try:
        out = part.open("wb")  # type: ignore[no-untyped-call]
    except FileNotFoundError:  # a filesystem with real folders; object stores need none
        part.fs.makedirs(part.parent.path, exist_ok=True)
        out = part.open("wb")  # type: ignore[no-untyped-call]
    with out:
        shutil.copyfileobj(file, out, _COPY)


def _same(path: ObjectStoragePath, *, size: int, sha256: str) -> bool:
    if not path.exists() or path.stat().st_size != size:
        return False
    digest = hashlib.sha256()
    with path.open("rb") as there:  # type: ignore[no-untyped-call]
        while chunk := there.read(_COPY):
            digest.update(chunk)
    return digest.hexdigest() == sha256


@contextmanager
def _storage_errors(path: ObjectStoragePath) -> Iterator[None]:
    """Name the destination in whatever the filesystem's library raises; each library has classes of its own."""
    try:
        yield
    except SegmindStorageError:
        raise
    except Exception as error:
        raise SegmindStorageError(f"{path}: {type(error).__name__}: {error}") from error
