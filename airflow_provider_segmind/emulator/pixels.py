"""Pixel work: fetch an input, enlarge it with Pillow, encode it. Runs in a small thread pool.

Results are cached by input and parameters, so that thousands of jobs over a few images are cheap.
Two inputs with the same URL are assumed to be the same image.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from .defects import spoil

CONTENT_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
MAX_INPUT_BYTES = 64 * 1024 * 1024
MAX_OUTPUT_PIXELS = 120_000_000
_PNG = b"\x89PNG\r\n\x1a\n"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class WorkFailedError(Exception):
    """The job ran and FAILED; the message becomes the request's ``error``."""


@dataclass(frozen=True)
class Upscale:
    """The image to enlarge, and how."""

    source: str
    factor: int
    format: str
    quality: int = 95
    keep_alpha: bool = True
    accept_base64: bool = False
    """Whether a source without a scheme is base64 (only some models accept it)."""
    defect: str = ""
    """What is wrong with the output: one of ``DEFECTS``, or empty."""


@dataclass(frozen=True)
class Product:
    """The output of a job, or an uploaded file: its bytes, media type and extension."""

    data: bytes
    content_type: str
    extension: str


def fetch(source: str, *, timeout: float, accept_base64: bool = False) -> bytes:
    """Return the bytes of an input from an http(s) URL, a data URI or base64. Local files are never read."""
    scheme = urllib.parse.urlsplit(source).scheme.lower() if "://" in source[:32] else ""
    if source[:5].lower() == "data:":
        head, comma, payload = source.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise WorkFailedError("Could not decode the input image: the data URI is not base64")
        return _decode(payload)
    if scheme in ("http", "https"):
        return _download(source, timeout)
    if accept_base64 and not scheme:
        return _decode(source)
    raise WorkFailedError("Could not fetch the input image: only http(s) URLs and data URIs are accepted")


def _decode(payload: str) -> bytes:
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WorkFailedError(f"Could not decode the input image: bad base64 ({error})") from error


def _download(url: str, timeout: float) -> bytes:
    opener = urllib.request.OpenerDirector()
    proxies: dict[str, str] | None = {} if urllib.parse.urlsplit(url).hostname in _LOOPBACK else None
    handlers: tuple[Any, ...] = (
        urllib.request.ProxyHandler(proxies),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),  # refuses a redirect to ftp:
    )
    for handler in handlers:
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "segmind-emulator")]
    try:
        with opener.open(url, timeout=timeout) as response:
            data: bytes = response.read(MAX_INPUT_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise WorkFailedError(f"Could not fetch the input image: HTTP {error.code}") from error
    except (OSError, ValueError) as error:  # URLError is an OSError
        raise WorkFailedError(f"Could not fetch the input image: {error or type(error).__name__}") from error
    if len(data) > MAX_INPUT_BYTES:
        raise WorkFailedError("The input image is too large")
    return data


def _without_texts(data: bytes) -> bytes:
    """Return a PNG without profile and texts, because Pillow refuses large ones; other images as they are."""
    if not data.startswith(_PNG):
        return data
    kept, start = [_PNG], len(_PNG)
    while start < len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])
        if data[start + 4 : start + 8] not in (b"iCCP", b"zTXt", b"iTXt", b"tEXt"):
            kept.append(data[start:end])
        start = end
    return b"".join(kept)


def upscale(data: bytes, work: Upscale) -> Product:
    """Return the enlarged and encoded image."""
    try:
        with Image.open(io.BytesIO(_without_texts(data))) as opened:
            if opened.width * opened.height * work.factor**2 > MAX_OUTPUT_PIXELS:
                raise WorkFailedError("The output image would be too large")
            image = _to_output_mode(ImageOps.exif_transpose(opened))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise WorkFailedError(f"Could not decode the input image: {error}") from error
    jpeg = work.format in ("jpg", "jpeg")
    if image.mode == "RGBA" and (jpeg or not work.keep_alpha):
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    size = (image.width * work.factor, image.height * work.factor)
    image = image.resize(size, Image.Resampling.LANCZOS)
    image.info.clear()  # as an upscaler does: no profile of the input gets into the output
    if work.defect:
        image = spoil(image, work.defect, work.factor)
    buffer = io.BytesIO()
    if jpeg:
        image.save(buffer, "JPEG", quality=work.quality)
    elif work.format == "webp":
        image.save(buffer, "WEBP", quality=work.quality, method=0)
    else:
        image.save(buffer, "PNG", compress_level=1)  # the speed of the encoder matters here, not the size
    return Product(buffer.getvalue(), CONTENT_TYPES[work.format], work.format)


def _to_output_mode(image: Image.Image) -> Image.Image:
    """Convert an image to a mode that the output formats support: RGB, RGBA or greyscale."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


class PixelPool:
    """
    A thread pool for pixel work, with a cache of its results.

    :param threads: maximum number of threads.
    :param cache_bytes: maximum size of the cached results in bytes.
    """

    def __init__(self, threads: int = 4, cache_bytes: int = 256 * 1024 * 1024) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._cache_bytes = cache_bytes
        self._products: OrderedDict[tuple[Any, ...], Product] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, work: Upscale, timeout: float) -> Future[Product]:
        """Start the work. The returned future fails with ``WorkFailedError``."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="segmind-emulator-pixels")
        return self._pool.submit(self._make, work, timeout)

    def _make(self, work: Upscale, timeout: float) -> Product:
        source = hashlib.sha256(work.source.encode()).digest()
        key = (source, work.factor, work.format, work.quality, work.keep_alpha, work.defect)
        with self._lock:
            if key in self._products:
                self._products.move_to_end(key)
                return self._products[key]
        product = upscale(fetch(work.source, timeout=timeout, accept_base64=work.accept_base64), work)
        with self._lock:
            self._products[key] = product
            while sum(len(kept.data) for kept in self._products.values()) > self._cache_bytes:
                self._products.popitem(last=False)
        return product

    def clear(self) -> None:
        """Drop every cached result."""
        with self._lock:
            self._products.clear()

    def close(self) -> None:
        """End the threads and drop the work that is still queued."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def done(product: Product) -> Future[Product]:
    """Return a future of work that is already done, because it needs no pixels."""
    future: Future[Product] = Future()
    future.set_result(product)
    return future


def failed(message: str) -> Future[Product]:
    """Return a future of work that has already failed."""
    future: Future[Product] = Future()
    future.set_exception(WorkFailedError(message))
    return future
