"""Write previews: small images beside a stored object, if ``[segmind] serve_previews`` is on."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_provider_segmind.exceptions import SegmindError, SegmindOutputError
from airflow_provider_segmind.protocol.preview_reference import (
    LONGEST_SIDE,
    MAX_BYTES,
    Reference,
    Which,
    marker,
    name_of,
)
from airflow_provider_segmind.protocol.urls import canonical_scheme
from airflow_provider_segmind.storage.paths import storage_errors, uncached_fs
from airflow_provider_segmind.storage.scaling import (
    MAX_PIXELS,
    averaged,
    check_pixels,
    has_alpha,
    upright,
)
from airflow_provider_segmind.storage.verification import image_errors, opened, orientation

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

log = logging.getLogger(__name__)

_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_QUALITIES = (80, 60, 40, 20)
#: An image is first scaled down by averaging to at least this multiple of the preview's size.
_OVERSIZE = 2


@dataclass(frozen=True)
class PreviewWriter:
    """
    Write the previews of one task's stored objects.

    :param dag_id: the DAG whose readers may see the previews.
    :param read_input: returns the bytes of the input, or None if this task cannot read them.
    """

    dag_id: str
    read_input: Callable[[], bytes | None]

    def write(self, path: ObjectStoragePath, output: BinaryIO, *, first: bool) -> dict[str, Any] | None:
        """
        Write the previews of one stored object and return the references to them; None if none was written.

        Does not raise: a preview that cannot be made does not fail the task.

        :param path: the object, which is already stored.
        :param output: its content.
        :param first: the object is the first one of its request: the preview of the input is written beside it.
        """
        found = {"before": self._one(path, "before", self._input) if first else None}
        found["after"] = self._one(path, "after", lambda: output)
        return found if any(found.values()) else None

    def _input(self) -> BinaryIO | None:
        content = self.read_input()
        return None if content is None else io.BytesIO(content)

    def _one(
        self, path: ObjectStoragePath, which: Which, source: Callable[[], BinaryIO | None]
    ) -> dict[str, Any] | None:
        target = path.with_name(name_of(path.name, which))
        try:
            with storage_errors(target):
                file = source()
                if file is None:
                    return None
                content, (width, height) = make_preview(file, marker(self.dag_id))
                attributes = {"ContentType": "image/webp"} if canonical_scheme(path.protocol) == "s3" else {}
                uncached_fs(target).pipe_file(target.path, content, **attributes)
        except SegmindError as error:
            log.warning("No preview of %s was written: %s", path if which == "after" else "the input", error.detail)
            return None
        digest = hashlib.sha256(content).hexdigest()
        return Reference(uri=str(target), width=width, height=height, bytes=len(content), sha256=digest).model_dump()


def make_preview(file: BinaryIO, xmp: bytes) -> tuple[bytes, tuple[int, int]]:
    """
    Return a preview of an image as WebP, and its width and height in pixels.

    ``storage.scaling.MAX_PIXELS`` bounds the memory that this takes.

    :param file: the image.
    :param xmp: the XMP packet of the preview.
    :raises SegmindOutputError: the image is too large, or its format or mode is not supported.
    """
    from PIL import Image

    with image_errors(), opened(file, formats=tuple(MAX_PIXELS)) as image:
        check_pixels(image, "a preview")
        if image.mode not in _MODES:
            raise SegmindOutputError(f"the preview does not support images of mode {image.mode}")
        mode = "RGBA" if has_alpha(image) else "RGB"
        [shown], _ = averaged(
            image, _OVERSIZE * LONGEST_SIDE, lambda strip: strip if strip.mode == mode else strip.convert(mode)
        )
    shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    shown = upright(shown, orientation(file))
    for quality in _QUALITIES:
        out = io.BytesIO()
        shown.save(out, "WEBP", quality=quality, xmp=xmp)
        if out.getbuffer().nbytes <= MAX_BYTES:
            return out.getvalue(), shown.size
    raise SegmindOutputError(f"the smallest preview has more than {MAX_BYTES} bytes")
