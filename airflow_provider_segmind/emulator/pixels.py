"""Pixel work: fetch an input, enlarge it with Pillow, encode it. Runs in a small thread pool.

Results are kept by input and parameters, so that thousands of jobs over a few pictures are cheap.
An input is taken as unchanged for as long as its URL is.
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

CONTENT_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
MAX_INPUT_BYTES = 64 * 1024 * 1024
MAX_OUTPUT_PIXELS = 120_000_000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class WorkFailedError(Exception):
    """The job ran and FAILED; the message is what the request's ``error`` says."""


@dataclass(frozen=True)
class Upscale:
    """What to make of which picture."""

    source: str
    factor: int
    format: str
    quality: int = 95
    keep_alpha: bool = True
    bare_base64: bool = False
    """Whether a source without a scheme is base64 (only some models take that)."""


@dataclass(frozen=True)
class Product:
    """What a job made: a file, or a text."""

    data: bytes
    content_type: str
    extension: str


def fetch(source: str, *, timeout: float, bare_base64: bool = False) -> bytes:
    """The input's bytes, from http(s), from a data URI or from base64. Never from this machine's files."""
    scheme = urllib.parse.urlsplit(source).scheme.lower() if "://" in source[:32] else ""
    if source[:5].lower() == "data:":
        head, comma, payload = source.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise WorkFailedError("Could not decode the input image: the data URI is not base64")
        return _decode(payload)
    if scheme in ("http", "https"):
        return _download(source, timeout)
    if bare_base64 and not scheme:
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
        urllib.request.UnknownHandler(),  # a redirect to ftp: ends here
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
        raise WorkFailedError(f"Could not fetch the input image: {error}") from error
    if len(data) > MAX_INPUT_BYTES:
        raise WorkFailedError("The input image is too large")
    return data


def upscale(data: bytes, work: Upscale) -> Product:
    """The enlarged picture, encoded."""
    try:
        with Image.open(io.BytesIO(data)) as opened:
            if opened.width * opened.height * work.factor**2 > MAX_OUTPUT_PIXELS:
                raise WorkFailedError("The output image would be too large")
            image = _plain(ImageOps.exif_transpose(opened))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise WorkFailedError(f"Could not decode the input image: {error}") from error
    jpeg = work.format in ("jpg", "jpeg")
    if image.mode == "RGBA" and (jpeg or not work.keep_alpha):
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    size = (image.width * work.factor, image.height * work.factor)
    image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if jpeg:
        image.save(buffer, "JPEG", quality=work.quality)
    elif work.format == "webp":
        image.save(buffer, "WEBP", quality=work.quality, method=0)
    else:
        image.save(buffer, "PNG", compress_level=1)  # the encoder's speed matters here, not the size
    return Product(buffer.getvalue(), CONTENT_TYPES[work.format], work.format)


def _plain(image: Image.Image) -> Image.Image:
    """In one of the modes that every output format has: RGB, RGBA or grey."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


class Workshop:
    """The thread pool and what it remembers."""

    def __init__(self, threads: int = 4, remember_bytes: int = 256 * 1024 * 1024) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._remember_bytes = remember_bytes
        self._products: OrderedDict[tuple[Any, ...], Product] = OrderedDict()
        self._lock = threading.Lock()

    def start(self, work: Upscale, timeout: float) -> Future[Product]:
        """Begin the work; the future fails with ``WorkFailedError``."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="segmind-emulator-pixels")
        return self._pool.submit(self._make, work, timeout)

    def _make(self, work: Upscale, timeout: float) -> Product:
        source = hashlib.sha256(work.source.encode()).digest()
        key = (source, work.factor, work.format, work.quality, work.keep_alpha)
        with self._lock:
            if key in self._products:
                self._products.move_to_end(key)
                return self._products[key]
        product = upscale(fetch(work.source, timeout=timeout, bare_base64=work.bare_base64), work)
        with self._lock:
            self._products[key] = product
            while sum(len(kept.data) for kept in self._products.values()) > self._remember_bytes:
                self._products.popitem(last=False)
        return product

    def forget(self) -> None:
        """Drop every kept result."""
        with self._lock:
            self._products.clear()

    def close(self) -> None:
        """End the threads; work that is still queued is dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


def done(product: Product) -> Future[Product]:
    """A piece of work that needs no pixels and is ready at once."""
    future: Future[Product] = Future()
    future.set_result(product)
    return future


def failed(message: str) -> Future[Product]:
    """A piece of work that has failed already."""
    future: Future[Product] = Future()
    future.set_exception(WorkFailedError(message))
    return future
