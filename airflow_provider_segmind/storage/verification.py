"""Verify that inputs and outputs are whole images."""

from __future__ import annotations

import io
import struct
import threading
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindOutputError
from airflow_provider_segmind.protocol.data_uris import decode_base64
from airflow_provider_segmind.protocol.urls import is_url

if TYPE_CHECKING:
    from PIL import Image

#: Pixels; of a larger image only header and structure are checked, so that memory stays bounded.
_DECODED_PIXELS = 64_000_000
_PILLOW = threading.Lock()


def image_size(file: BinaryIO, *, whole: bool = False) -> tuple[int, int]:
    """
    Return the width and height of an image in pixels.

    :param file: the image.
    :param whole: also verify that all of it decodes; a very large image is checked without decoding its pixels.
    :raises SegmindOutputError: it is not an image, or it is truncated.
    """
    from PIL import UnidentifiedImageError

    try:
        file.seek(0)
        with opened(file) as decoded:
            width, height = decoded.size
            if whole and width * height > _DECODED_PIXELS and decoded.format != "JPEG":
                decoded.verify()
            elif whole:
                if width * height > _DECODED_PIXELS:
                    decoded.draft("RGB", (width // 8, height // 8))  # reads all of it, into 1/64 of the memory
                decoded.load()
    except UnidentifiedImageError as error:  # its text names a file object of Python
        raise SegmindOutputError("it is not a whole image: its format is not one that Pillow reads") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error) as error:
        raise SegmindOutputError(f"it is not a whole image: {error}") from error
    return width, height


def opened(file: BinaryIO, formats: tuple[str, ...] | None = None) -> Image.Image:
    """
    Open an image of any size: an 8x upscale exceeds Pillow's default limit. The limit is global, hence the lock.

    :param file: the image; only its header is read.
    :param formats: Pillow's names of the accepted formats; default: any.
    """
    from PIL import Image

    with _PILLOW:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def data_uri_size(image: Any) -> tuple[int, int] | None:
    """Return the width and height of an image in base64 (pixels); None for a URL and for other text."""
    content = decode_base64(image) if isinstance(image, str) and not is_url(image) else None
    if content is None:
        return None
    try:
        return image_size(io.BytesIO(content))
    except SegmindOutputError as error:
        raise SegmindConfigError(f"image: {error.detail}") from None
