"""Small pictures beside a stored object, for people to look at: written where ``[segmind] serve_previews`` is on."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_provider_segmind.exceptions import SegmindError, SegmindOutputError
from airflow_provider_segmind.protocol.previews import LONGEST_SIDE, MAX_BYTES, Reference, Which, marker, name_of
from airflow_provider_segmind.storage.paths import fresh, storage_errors
from airflow_provider_segmind.storage.verification import opened

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath
    from PIL import Image

log = logging.getLogger(__name__)

#: What the three models take and give, and how many pixels of it are decoded: each takes 200 to 300 MiB of memory. A
#: JPEG is decoded at an eighth of its size, but a progressive one lies in memory whole; Pillow holds a WebP four times.
#: Anything else has no preview, and no further decoder is reached.
MOST_PIXELS = {"JPEG": 1_000_000_000, "PNG": 64_000_000, "WEBP": 16_000_000}
_MOST_PIXELS_PROGRESSIVE = 32_000_000
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}
_QUALITIES = (80, 60, 40, 20)
#: While a picture is scaled down, it is first averaged to at least this many times the size wanted.
_ENOUGH = 2
_ORIENTATION = 0x0112  # EXIF


@dataclass(frozen=True)
class Previews:
    """
    What one task needs to write previews.

    :param dag_id: the DAG: who may read it may see them.
    :param read_input: returns the input's bytes, where this task may read them; None else.
    """

    dag_id: str
    read_input: Callable[[], bytes | None]

    def write(self, path: ObjectStoragePath, output: BinaryIO, *, first: bool) -> dict[str, Any] | None:
        """
        Write the previews of one stored object, and return the references to them; None where there are none.

        Never raises: what cannot be shown is stored all the same.

        :param path: the object, already in place.
        :param output: its content.
        :param first: it is the first of its request's objects: the input's preview lies beside that one.
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
                content, (width, height) = small(file, marker(self.dag_id))
                attributes = {"ContentType": "image/webp"} if path.protocol in ("s3", "s3a", "s3n") else {}
                fresh(target).pipe_file(target.path, content, **attributes)
        except SegmindError as error:
            log.warning("No preview of %s: %s", path if which == "after" else "the input", error.detail)
            return None
        digest = hashlib.sha256(content).hexdigest()
        return Reference(uri=str(target), width=width, height=height, bytes=len(content), sha256=digest).model_dump()


def small(file: BinaryIO, xmp: bytes) -> tuple[bytes, tuple[int, int]]:
    """
    Return a picture as a small WebP, and its width and height in pixels.

    Memory is bounded by ``MOST_PIXELS``, whatever the file says.

    :param file: the picture.
    :param xmp: what is written into the file.
    :raises SegmindOutputError: it is too large, or not of a kind that is shown.
    """
    from PIL import Image

    with opened(file, formats=tuple(MOST_PIXELS)) as image:
        width, height = image.size
        allowed = _MOST_PIXELS_PROGRESSIVE if image.info.get("progressive") else MOST_PIXELS[image.format or ""]
        if width * height > allowed:
            raise SegmindOutputError(f"a preview of {width} x {height} pixels would take too much memory")
        if image.mode not in _MODES:
            raise SegmindOutputError(f"no preview is made of pixels of mode {image.mode}")
        orientation = image.getexif().get(_ORIENTATION)
        image.draft("RGB", (_ENOUGH * LONGEST_SIDE, _ENOUGH * LONGEST_SIDE))  # for a JPEG; changes its size
        shown = _averaged(image)
    shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    shown = _upright(shown, orientation)
    for quality in _QUALITIES:
        out = io.BytesIO()
        shown.save(out, "WEBP", quality=quality, xmp=xmp)
        if out.tell() <= MAX_BYTES:
            return out.getvalue(), shown.size
    raise SegmindOutputError(f"no preview of it has less than {MAX_BYTES} bytes")


def _averaged(image: Image.Image) -> Image.Image:
    """
    Return a copy in RGB or RGBA, scaled down by averaging to about twice the size of a preview.

    In strips: converting a whole picture with transparency would take its memory twice.
    """
    from PIL import Image

    width, height = image.size
    factor = max(1, min(width, height, max(width, height) // (_ENOUGH * LONGEST_SIDE)))
    mode = "RGBA" if "A" in image.mode or "transparency" in image.info else "RGB"
    result = Image.new(mode, (-(-width // factor), -(-height // factor)))
    step = 16 * factor
    for top in range(0, height, step):
        strip = image.crop((0, top, width, min(height, top + step))).convert(mode)
        result.paste(strip.reduce(factor), (0, top // factor))
    return result


def _upright(image: Image.Image, orientation: int | None) -> Image.Image:
    """Turn a picture as its camera says."""
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
