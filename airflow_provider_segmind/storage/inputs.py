"""Input images: list them, read them, and verify them before anything is uploaded or billed."""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.compat import connection_of
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindOutputError
from airflow_provider_segmind.protocol.preview_reference import is_preview
from airflow_provider_segmind.protocol.urls import is_url
from airflow_provider_segmind.storage.limits import MAX_INPUT_BYTES
from airflow_provider_segmind.storage.names import QUARANTINE
from airflow_provider_segmind.storage.paths import object_path, refused_early, uncached_fs
from airflow_provider_segmind.storage.verification import INPUT_FORMATS, verified_size

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_segmind.protocol.models import ModelParameters

log = logging.getLogger(__name__)

#: Bytes up to which an image is sent inside the request, if the model accepts base64.
MAX_INLINE_BYTES = 1024**2
#: Extensions of the formats that the models accept.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")
#: A signed URL is valid for seven days at most (S3, GCS).
_LONGEST_SIGNATURE = 7 * 24 * 3600.0
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class InputImage:
    """
    One input image that is verified to be whole.

    :param path: its path in storage.
    :param content: its bytes.
    :param size: width and height in pixels.
    """

    path: ObjectStoragePath
    content: bytes = field(repr=False)
    size: tuple[int, int]

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the content: it identifies the image, whatever its path is."""
        return hashlib.sha256(self.content).hexdigest()

    def sign(self, seconds: float) -> str:
        """
        Return a presigned URL of the image, and mask its signature in the logs.

        Whoever has the URL can read the image until it expires.

        :param seconds: how long the URL is valid; limited to seven days.
        :raises SegmindConfigError: the store, or the credentials in use, cannot sign.
        """
        from airflow.providers.common.compat.sdk import mask_secret

        next_step = "Use input_transport='upload' or 'auto'."
        with refused_early("input", self.path):
            try:
                url: str = self.path.sign(expiration=int(min(seconds, _LONGEST_SIGNATURE)))
            except (NotImplementedError, AttributeError) as error:
                raise SegmindConfigError(f"{self.path} cannot be presigned: {error}", next_step=next_step) from error
        query = url.partition("?")[2] if is_url(url) else ""
        if not query:
            raise SegmindConfigError(f"{self.path} cannot be presigned: no key to sign with", next_step=next_step)
        mask_secret(query)
        return url


def load_image(uri: str, conn_id: str | None, *, max_bytes: int = MAX_INPUT_BYTES) -> InputImage:
    """
    Read and verify an input image.

    :param uri: its URI in storage.
    :param conn_id: Airflow connection of the storage.
    :param max_bytes: refuse a larger image before it is read (bytes; default: 64 MiB).
    :raises SegmindConfigError: it is missing, empty, too large, or not a whole JPEG, PNG or WebP; nothing is billed.
    :raises SegmindStorageError: the store could not be read; a retry may succeed.
    """
    path = object_path(uri, conn_id)
    content = read_input(path, max_bytes)
    try:
        return InputImage(path, content, verified_size(io.BytesIO(content), whole=True, formats=INPUT_FORMATS))
    except SegmindOutputError as error:
        raise SegmindConfigError(
            f"input {path}: {error.detail}"
        ) from None  # its text is about an output that is billed


def read_input(path: ObjectStoragePath, max_bytes: int) -> bytes:
    """
    Return the bytes of an input without verifying that they are an image.

    :param path: the input.
    :param max_bytes: refuse a larger input (bytes).
    :raises SegmindConfigError: see :func:`load_image`.
    :raises SegmindStorageError: see :func:`load_image`.
    """
    with refused_early("input", path):
        fs = uncached_fs(path)
        info = fs.info(path.path)
        if info.get("type") == "directory":
            raise SegmindConfigError(f"input {path} is a folder; list_images() returns the URIs of the images in it")
        if (size := info.get("size") or 0) > max_bytes:
            raise SegmindConfigError(f"input {path} has {size} bytes; max_input_bytes is {max_bytes}")
        content = bytes(fs.cat_file(path.path))  # path.read_bytes() would report it as lineage
    if not content:
        raise SegmindConfigError(f"input {path} is empty")
    if len(content) > max_bytes:
        raise SegmindConfigError(f"input {path} has {len(content)} bytes; max_input_bytes is {max_bytes}")
    return content


def goes_inside(image: InputImage, model: type[ModelParameters] | None) -> bool:
    """Return whether ``input_transport="auto"`` sends an image inside the request, not by an upload."""
    return len(image.content) <= MAX_INLINE_BYTES and model is not None and model.takes_base64


def list_images(uri: str, conn_id: str | None = None) -> list[str]:
    """
    Return the sorted URIs of the images in a folder, for ``.expand(input_path=…)``.

    Call this function inside a ``@task``, or make it a task: ``task(list_images)("s3://bucket/in/")``. Images are
    recognized by their extensions (.jpg, .jpeg, .png, .webp, in any case). Previews written by this provider, and
    images in a folder ``.quarantine``, are left out. A file that is not an image is reported by the task that reads it.
    Each URI includes its connection (``s3://conn@bucket/key``).

    For a folder without images the list is empty, and Airflow skips a task that is mapped over it. A missing folder,
    bucket or connection is an error.

    :param uri: a folder (without its subfolders), one object, or a pattern: ``s3://bucket/in/**/*.jpg``. What exists
        as it is written is not a pattern: a folder ``[2024] holidays``, an object ``photo[1].jpg``.
    :param conn_id: Airflow connection of the storage; default: the one in the URI, if any.
    :raises SegmindConfigError: the folder or the connection is missing, or the URI cannot be used.
    :raises SegmindStorageError: the store could not be listed; a retry may succeed.
    """
    path = object_path(uri, conn_id)
    used = connection_of(path)
    conn = f"{used}@" if used else ""
    with refused_early("folder", path):
        names = [name for name in _files(path) if name.lower().endswith(EXTENSIONS) and not _is_ours(name)]
        found = sorted(f"{path.protocol}://{conn}{name}" for name in names)
    log.info("Found %d images in %s", len(found), path)
    return found


def _is_ours(name: str) -> bool:
    """Return whether a file was written by this package and is not an image to be upscaled."""
    return is_preview(name) or QUARANTINE in name.split("/")[:-1]


def _files(path: ObjectStoragePath) -> Iterator[str]:
    """Yield the names of the files that a path or pattern matches; raise FileNotFoundError for a missing folder."""
    fs = path.fs
    fs.invalidate_cache()
    whole = path.path.rstrip("/") or path.path
    literal = _literal_part(fs, whole)
    if literal != whole:
        infos = list(fs.glob(_GLOB.sub(r"[\g<0>]", literal) + whole[len(literal) :], detail=True).values())
    else:
        try:
            infos = fs.ls(whole, detail=True)
        except FileNotFoundError:
            infos = []
    if not infos and not fs.exists(literal):
        # In an object store a folder exists only while it has objects; so only a missing bucket is an error.
        bucket = literal.partition("/")[0]
        if not bucket or not fs.exists(bucket):
            raise FileNotFoundError("no such folder or bucket")
    yield from (info["name"] for info in infos if info.get("type") == "file")


def _literal_part(fs: Any, path: str) -> str:
    """Return the leading part of a path that is not a pattern: what exists as it is written is not one."""
    parts = path.split("/")
    for number, part in enumerate(parts):
        if _GLOB.search(part) and not _is_there(fs, "/".join(parts[: number + 1])):
            return "/".join(parts[:number])
    return path


def _is_there(fs: Any, path: str) -> bool:
    try:
        fs.info(path)  # not exists(): it returns False when the store is down
    except FileNotFoundError:
        return False
    return True
