"""Scale images down in bounded memory: for previews and for the comparison of an output with its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_provider_segmind.exceptions import SegmindOutputError

if TYPE_CHECKING:
    from PIL import Image

#: The formats of the three models, and the number of pixels up to which each is decoded: that takes 200 to 300 MiB of
#: memory. A JPEG is decoded at an eighth of its size, but a progressive one is held in memory whole; Pillow holds a
#: WebP four times.
MAX_PIXELS = {"JPEG": 1_000_000_000, "PNG": 64_000_000, "WEBP": 16_000_000}
_MAX_PIXELS_PROGRESSIVE = 32_000_000
_MAX_PIXELS_OTHER = 16_000_000


def check_pixels(image: Image.Image, what: str) -> None:
    """
    Raise SegmindOutputError if decoding an image would take too much memory.

    :param image: the image, of which only the header was read.
    :param what: the beginning of the error's message, such as ``a preview``.
    """
    width, height = image.size
    allowed = MAX_PIXELS.get(image.format or "", _MAX_PIXELS_OTHER)
    if image.info.get("progressive"):
        allowed = _MAX_PIXELS_PROGRESSIVE
    if width * height > allowed:
        raise SegmindOutputError(f"{what} of {width} x {height} pixels would take too much memory")


def has_alpha(image: Image.Image) -> bool:
    """Return whether an image has transparency, as a channel or as a transparent colour."""
    return "A" in image.mode or "transparency" in image.info


def averaged(
    image: Image.Image, side: int, *converts: Callable[[Image.Image], Image.Image]
) -> tuple[list[Image.Image], float]:
    """
    Return a copy for each conversion, scaled down by averaging to a longest side between ``side`` and twice that.

    Also returns how many pixels of the image are one pixel of a copy; the last row and column may stand for fewer.
    Works in strips: converting a whole image would need its memory twice. A small image keeps its size.

    :param image: the image; a JPEG is decoded at an eighth, a quarter or half of its size.
    :param side: pixels.
    :param converts: each returns a strip in another mode.
    """
    from PIL import Image

    full = image.width
    image.draft("RGB", (side, side))
    width, height = image.size
    factor = max(1, min(width, height, max(width, height) // side))
    size = (-(-width // factor), -(-height // factor))
    copies: list[Image.Image] = []
    step = 16 * factor
    for top in range(0, height, step):
        strip = image.crop((0, top, width, min(height, top + step)))
        for number, convert in enumerate(converts):
            part = convert(strip)
            if not top:
                copies.append(Image.new(part.mode, size))
            copies[number].paste(part.reduce(factor), (0, top // factor))
    return copies, factor * round(full / width)


def upright(image: Image.Image, orientation: int | None) -> Image.Image:
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
