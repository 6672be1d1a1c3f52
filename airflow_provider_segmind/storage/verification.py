"""Verify that inputs and outputs are whole images."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError, SegmindOutputError
from airflow_provider_segmind.protocol.content_types import IMAGES, format_name
from airflow_provider_segmind.protocol.data_uris import decode_base64
from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.protocol.urls import is_url
from airflow_provider_segmind.storage.containers import format_of, head_of, jpeg, png, webp
from airflow_provider_segmind.storage.containers.spans import Spans
from airflow_provider_segmind.storage.metadata import reading

if TYPE_CHECKING:
    from PIL import Image

#: Pillow's names of the formats of inputs and of outputs.
INPUT_FORMATS = ("JPEG", "PNG", "WEBP")
OUTPUT_FORMATS = tuple(IMAGES.values())

#: From this orientation on, width and height are swapped.
_TRANSPOSED = 5
_CONTAINERS = {"JPEG": jpeg, "PNG": png, "WEBP": webp}
#: Pixels, of all frames together, up to which Pillow decodes an image: that takes about 250 MiB of memory. Pillow holds
#: WebP and the frames of GIF four times.
_DECODED_PIXELS = {"JPEG": 32_000_000, "PNG": 64_000_000, "BMP": 64_000_000, "TIFF": 32_000_000}
_DECODED_PIXELS_OTHERS = 16_000_000
_CONVERSIONS = {
    "HEIC": "; convert it first, for example with `magick in.heic out.jpg`",
    "AVIF": "; convert it first, for example with `magick in.avif out.jpg`",
}
_PILLOW = threading.Lock()

orientation = reading.orientation


def image_size(file: BinaryIO, *, whole: bool = False) -> tuple[int, int]:
    """
    Return the width and height of an image in pixels, as it is shown: turned by its EXIF orientation.

    :param file: a JPEG, PNG, WebP, GIF, BMP or TIFF.
    :param whole: also verify that all of it is there and decodes.
    :raises SegmindOutputError: it is not an image of these formats, or it is truncated or damaged.
    """
    return verified_size(file, whole=whole)


def verified_size(
    file: BinaryIO,
    *,
    whole: bool,
    formats: Sequence[str] = OUTPUT_FORMATS,
    decoded: Callable[[Image.Image], None] = lambda image: None,
) -> tuple[int, int]:
    """
    Return what :func:`image_size` does, for images of some formats.

    Of a very large image, JPEG and PNG are verified without holding the pixels; the structure of the others is.

    :param file: the image.
    :param whole: see there.
    :param formats: Pillow's names of the accepted formats.
    :param decoded: called with the image, or its first frame, if the verification has decoded its pixels.
    :raises SegmindOutputError: see there.
    """
    with image_errors():
        with opened(file, formats) as image:
            width, height = image.size
            if not width or not height:
                raise ValueError("it has no pixels")
            if whole:
                _verify(file, image, decoded)
        return (height, width) if orientation(file) >= _TRANSPOSED else (width, height)


def opened(file: BinaryIO, formats: Sequence[str] | None = None) -> Image.Image:
    """
    Open an image of any size, and read its header only. Metadata such as profiles, EXIF and text is left out.

    Decode it inside of :func:`image_errors`. Its pixels are as stored, see :func:`orientation`.

    :param file: the image.
    :param formats: Pillow's names of the accepted formats; default: JPEG, PNG, WebP, GIF, BMP and TIFF.
    :raises SegmindOutputError: it is not an image of these formats, or its header is damaged.
    """
    from PIL import Image

    accepted = OUTPUT_FORMATS if formats is None else tuple(formats)
    kind = format_of(file)
    if kind is None or kind not in accepted:
        raise SegmindOutputError(_unsupported(file, accepted))
    with image_errors(), _PILLOW:  # an 8x upscale exceeds Pillow's limit, which is global
        source = _pixels_of(file, kind)
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(source, formats=(kind,))
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def image_errors() -> Iterator[None]:
    """Report what a decoder raises, which may be anything for a damaged image, as SegmindOutputError."""
    try:
        yield
    except SegmindError:
        raise
    except MemoryError as error:
        raise SegmindOutputError("this worker has too little memory to decode it", retryable=True) from error
    except Exception as error:
        raise SegmindOutputError(f"it is not a whole image: {_reason_of(error)}") from error


def data_uri_size(model: str, image: Any, *, whole: bool = True) -> tuple[int, int] | None:
    """
    Verify an upscaler's input in base64, and return its width and height, see :func:`image_size`; None for a URL.

    :param model: the slug. Of any other model it is not known what it takes: None.
    :param image: the value of a parameter.
    :param whole: False to read its header only, because it was verified before.
    :raises SegmindConfigError: it is not a whole JPEG, PNG or WebP.
    """
    is_text = model in MODELS and isinstance(image, str) and not is_url(image)
    content = decode_base64(image) if is_text else None
    if content is None:
        return None
    try:
        return verified_size(io.BytesIO(content), whole=whole, formats=INPUT_FORMATS)
    except SegmindOutputError as error:
        raise SegmindConfigError(f"image: {error.detail}") from None


def _verify(file: BinaryIO, image: Image.Image, decoded: Callable[[Image.Image], None]) -> None:
    """Verify all of an image as far as bounded memory allows; raise anything if it is damaged."""
    kind = image.format or ""
    if kind == "JPEG":
        if jpeg.verify(file):
            return
    elif kind in _CONTAINERS:
        _CONTAINERS[kind].verify(file)
    left = _DECODED_PIXELS.get(kind, _DECODED_PIXELS_OTHERS)
    for frame in itertools.count():
        try:
            image.seek(frame)
        except EOFError:  # the last frame was verified
            return
        left -= image.width * image.height
        if left < 0:
            return
        image.load()
        if frame == 0:
            decoded(image)


def _unsupported(file: BinaryIO, accepted: Sequence[str]) -> str:
    head = head_of(file)
    name = format_name(head)
    found = f"its format is {name}" if name else f"its format is unknown (it begins with {head[:8]!r})"
    names = [form.replace("WEBP", "WebP") for form in accepted]
    return f"{found}; {', '.join(names[:-1])} and {names[-1]} are accepted{_CONVERSIONS.get(name or '', '')}"


def _pixels_of(file: BinaryIO, kind: str) -> BinaryIO:
    """Return the file without its metadata, if the format has a container that is known here."""
    if kind in _CONTAINERS:
        return cast(BinaryIO, io.BufferedReader(Spans(file, _CONTAINERS[kind].pixel_parts(file))))
    file.seek(0)
    return file


def _reason_of(error: Exception) -> str:
    """Return the part of a decoder's error that helps a DAG author: its text, unless that is about Python's objects."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "its header is damaged, or of a kind that Pillow does not read"
    if isinstance(error, ValueError) and str(error):
        return str(error)
    if isinstance(error, OSError | SyntaxError) and str(error):
        return f"Pillow reports: {error}"
    return f"Pillow cannot decode it ({type(error).__name__})"
