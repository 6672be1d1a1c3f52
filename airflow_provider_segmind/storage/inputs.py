"""Pictures that go in: listed, read, and proved to be pictures before anything is uploaded or billed."""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from airflow_provider_segmind.compat import connection_of
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindOutputError
from airflow_provider_segmind.protocol.previews import is_preview
from airflow_provider_segmind.protocol.urls import is_url
from airflow_provider_segmind.storage.limits import MAX_INPUT_BYTES
from airflow_provider_segmind.storage.paths import fresh, object_path, refused_early
from airflow_provider_segmind.storage.verification import image_size

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_segmind.protocol.models import ModelParameters

log = logging.getLogger(__name__)

#: Bytes up to which a picture goes inside the request, where the model's page takes that.
SMALL = 1024**2
#: Names of what the models take end so.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
#: A signature may live seven days at most (S3, GCS).
_LONGEST_SIGNATURE = 7 * 24 * 3600.0
_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class InputImage:
    """
    One input picture, whole and proved.

    :param path: where it lies.
    :param content: its bytes.
    :param size: width and height in pixels.
    """

    path: ObjectStoragePath
    content: bytes = field(repr=False)
    size: tuple[int, int]

    @cached_property
    def sha256(self) -> str:
        """What tells this picture from another, wherever it lies."""
        return hashlib.sha256(self.content).hexdigest()

    def sign(self, seconds: float) -> str:
        """
        Return a URL under which anybody can read the picture for a while: a secret, kept out of the logs.

        :param seconds: for how long; seven days at most.
        :raises SegmindConfigError: the store, or the key at hand, cannot sign.
        """
        from airflow.providers.common.compat.sdk import mask_secret

        way_out = "Use input_transport='upload', or 'auto'."
        with refused_early("input", self.path):
            try:
                url: str = self.path.sign(expiration=int(min(seconds, _LONGEST_SIGNATURE)))
            except (NotImplementedError, AttributeError) as error:
                raise SegmindConfigError(f"{self.path} cannot be presigned: {error}", next_step=way_out) from error
        query = url.partition("?")[2] if is_url(url) else ""
        if not query:
            raise SegmindConfigError(f"{self.path} cannot be presigned: no key to sign with", next_step=way_out)
        mask_secret(query)
        return url


def load_image(uri: str, conn_id: str | None, *, max_bytes: int = MAX_INPUT_BYTES) -> InputImage:
    """
    Read an input picture.

    :param uri: where it lies.
    :param conn_id: Airflow connection of the storage.
    :param max_bytes: refuse a larger one (bytes; default 64 MiB), before it is read.
    :raises SegmindConfigError: it is not there, empty, too large, or no whole picture; nothing is billed yet.
    :raises SegmindStorageError: it could not be read this time.
    """
    path = object_path(uri, conn_id)
    content = read_input(path, max_bytes)
    try:
        return InputImage(path, content, image_size(io.BytesIO(content), whole=True))
    except SegmindOutputError as error:
        raise SegmindConfigError(f"input {path}: {error.detail}") from error


def read_input(path: ObjectStoragePath, max_bytes: int) -> bytes:
    """Return an input's bytes, not proved to be a picture; errors as :func:`load_image`."""
    with refused_early("input", path):
        fs = fresh(path)
        there = fs.info(path.path)
        if there.get("type") == "directory":
            raise SegmindConfigError(f"input {path} is a folder: list_images() names the pictures in it")
        if (size := there.get("size") or 0) > max_bytes:
            raise SegmindConfigError(f"input {path} has {size} bytes, more than the {max_bytes} of max_input_bytes")
        content = bytes(fs.cat_file(path.path))  # not the path's own read, which reports a lineage of it
    if not content:
        raise SegmindConfigError(f"input {path} is empty")
    if len(content) > max_bytes:
        raise SegmindConfigError(f"input {path} has more than the {max_bytes} bytes of max_input_bytes")
    return content


def goes_inside(image: InputImage, model: type[ModelParameters] | None) -> bool:
    """Tell whether a picture goes inside the request, and not through the upload call, where nothing else is asked."""
    return len(image.content) <= SMALL and model is not None and model.takes_base64


def read_picture(uri: str, conn_id: str | None, *, max_bytes: int = MAX_INPUT_BYTES) -> tuple[bytes, tuple[int, int]]:
    """Return an input picture's bytes, and its width and height in pixels; see :func:`load_image`."""
    image = load_image(uri, conn_id, max_bytes=max_bytes)
    return image.content, image.size


def list_images(uri: str, conn_id: str | None = None) -> list[str]:
    """
    Return the URIs of the pictures in a folder, sorted: what ``.expand(input_path=…)`` takes.

    A plain function: call it inside a ``@task``, or make it one: ``task(list_images)("s3://bucket/in/")``. Pictures
    are known by their names' endings (.jpg, .jpeg, .png, .webp, in any case; not our own previews); what is none after
    all is said by the task that reads it. Each URI carries its connection (``s3://conn@bucket/key``).

    A folder without pictures is an empty list, and Airflow skips what is mapped over one: a day without pictures is no
    mistake. A folder, bucket or connection that is not there is one.

    :param uri: a folder (not its subfolders), one object, or a pattern: ``s3://bucket/in/**/*.jpg``.
    :param conn_id: Airflow connection of the storage; default: the one in the URI, if any.
    :raises SegmindConfigError: there is no such folder, or the URI cannot be used.
    :raises SegmindStorageError: the store could not be asked this time.
    """
    path = object_path(uri, conn_id)
    used = connection_of(path)
    conn = f"{used}@" if used else ""
    with refused_early("folder", path):
        names = [name for name in _files(path) if name.lower().endswith(SUFFIXES) and not is_preview(name)]
        found = sorted(f"{path.protocol}://{conn}{name}" for name in names)
    log.info("%d pictures in %s", len(found), path)
    return found


def _files(path: ObjectStoragePath) -> Iterator[str]:
    """Yield the names of the files that a path means; raise FileNotFoundError where it cannot mean any."""
    fs = path.fs
    fs.invalidate_cache()
    folder = path
    if _GLOB.search(path.path):
        while _GLOB.search(folder.path):
            folder = folder.parent
        infos = list(fs.glob(path.path, detail=True).values())
    else:
        try:
            infos = fs.ls(path.path, detail=True)
        except FileNotFoundError:
            infos = []
    if not infos and not fs.exists(folder.path):
        # In an object store a folder without objects does not exist, but its bucket does.
        bucket = folder.path.partition("/")[0]
        if not bucket or not fs.exists(bucket):
            raise FileNotFoundError("there is no such folder or bucket")
    yield from (info["name"] for info in infos if info.get("type") == "file")
