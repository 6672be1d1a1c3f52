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
from airflow_provider_segmind.storage.verification import image_errors, opened, orientation

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath
    from PIL import Image

log = logging.getLogger(__name__)

#: The formats of the three models, and the number of pixels up to which each is decoded: that takes 200 to 300 MiB of
#: memory. A JPEG is decoded at an eighth of its size, but a progressive one is held in memory whole; Pillow holds a
#: WebP four times. Other formats have no preview, so no other decoder is used.
MAX_PIXELS = {"JPEG": 1_000_000_000, "PNG": 64_000_000, "WEBP": 16_000_000}
_MAX_PIXELS_PROGRESSIVE = 32_000_000
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

    ``MAX_PIXELS`` bounds the memory that this takes.

    :param file: the image.
    :param xmp: the XMP packet of the preview.
    :raises SegmindOutputError: the image is too large, or its format or mode is not supported.
    """
    from PIL import Image

    with image_errors(), opened(file, formats=tuple(MAX_PIXELS)) as image:
        width, height = image.size
        allowed = _MAX_PIXELS_PROGRESSIVE if image.info.get("progressive") else MAX_PIXELS[image.format or ""]
        if width * height > allowed:
            raise SegmindOutputError(f"a preview of {width} x {height} pixels would take too much memory")
        if image.mode not in _MODES:
            raise SegmindOutputError(f"the preview does not support images of mode {image.mode}")
        image.draft(
            "RGB", (_OVERSIZE * LONGEST_SIDE, _OVERSIZE * LONGEST_SIDE)
        )  # for JPEG only: decodes a smaller image
        shown = _averaged(image)
    shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    shown = _upright(shown, orientation(file))
    for quality in _QUALITIES:
        out = io.BytesIO()
        shown.save(out, "WEBP", quality=quality, xmp=xmp)
        if out.getbuffer().nbytes <= MAX_BYTES:
            return out.getvalue(), shown.size
    raise SegmindOutputError(f"the smallest preview has more than {MAX_BYTES} bytes")


def _averaged(image: Image.Image) -> Image.Image:
    """
    Return a copy in RGB or RGBA, scaled down by averaging to about twice the size of a preview.

    Works in strips: converting a whole image with transparency would need its memory twice.
    """
    from PIL import Image

    width, height = image.size
    factor = max(1, min(width, height, max(width, height) // (_OVERSIZE * LONGEST_SIDE)))
    mode = "RGBA" if "A" in image.mode or "transparency" in image.info else "RGB"
    result = Image.new(mode, (-(-width // factor), -(-height // factor)))
    step = 16 * factor
    for top in range(0, height, step):
        strip = image.crop((0, top, width, min(height, top + step))).convert(mode)
        result.paste(strip.reduce(factor), (0, top // factor))
    return result


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return the image turned by its EXIF orientation."""
    from PIL import Image

    turn = Image.Transpose
    turns = {
        2: turn.FLIP_LEFT_RIGHT,
        3: turn.ROTATE_180,
        4: turn.FLIP_TOP_BOTTOM,
        5: turn.TRANSPOSE,
        6: turn.ROTATE_270,
        7: turn.TRANSVERSE,
        8: turn.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image
