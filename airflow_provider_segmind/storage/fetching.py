"""Fetch one output into a local file, and verify that it is whole; a broken one is fetched again."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

from tenacity import Retrying

from airflow_provider_segmind.exceptions import SegmindDownloadError, SegmindError, SegmindOutputError
from airflow_provider_segmind.protocol.content_types import actual_type, format_name, is_image, is_not_announced
from airflow_provider_segmind.retry_budget import RetryBudget, retry_options
from airflow_provider_segmind.storage.comparison import Reduced, reduced
from airflow_provider_segmind.storage.containers import head_of
from airflow_provider_segmind.storage.verification import image_errors, orientation, verified_size

if TYPE_CHECKING:
    from PIL import Image

    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.outputs import OutputSource
    from airflow_provider_segmind.storage.expected import Expected

log = logging.getLogger(__name__)

#: Downloads of an output that is not whole: a body may be cut without an error, where its length is not stated.
_FETCHES = RetryBudget(attempts=3, seconds=60.0)


@dataclass(frozen=True)
class Fetched:
    """
    An output in a local file.

    :param file: its content.
    :param bytes: its size.
    :param sha256: of its content, as hex digits.
    :param content_type: by its content, not by what its host states.
    :param pixels: upright width and height; None if it is not an image that was decoded.
    :param copy: a small copy to be compared, if Pillow decoded the image for the verification.
    """

    file: BinaryIO
    bytes: int
    sha256: str
    content_type: str
    pixels: tuple[int, int] | None = None
    copy: Reduced | None = field(default=None, repr=False)


def fetch(
    hook: SegmindHook,
    source: OutputSource,
    file: BinaryIO,
    *,
    max_bytes: int,
    must_be_image: bool,
    expected: Expected,
) -> Fetched:
    """
    Write an output into a file, and verify it.

    :param hook: downloads it.
    :param source: its URL, or its content.
    :param file: empty.
    :param max_bytes: refuse a larger output (bytes).
    :param must_be_image: the model's outputs are images.
    :param expected: what the output has to be.
    :raises SegmindOutputError: it is not whole, is too small or too large, or is not what was announced.
    """

    def attempt() -> Fetched:
        file.seek(0)
        file.truncate()
        size, sha256, claimed = _write(hook, source.content, file, max_bytes)
        if source.text:
            return Fetched(file, size, sha256, source.text)
        head = head_of(file)
        fetched = Fetched(file, size, sha256, actual_type(head, claimed))
        if is_image(head):
            return _verified(fetched, expected, is_downloaded=isinstance(source.content, str))
        with _unless_off(expected):
            _check_other(head, source.announced or claimed, claimed, must_be_image=must_be_image)
        return fetched

    options = retry_options(_is_broken, _FETCHES, "output", time.time)
    return Retrying(**options)(attempt)


def _is_broken(error: SegmindError) -> bool:
    """Return whether another download may be whole; a download that was refused has been repeated by the client."""
    return error.retryable and not isinstance(error, SegmindDownloadError)


def _write(hook: SegmindHook, source: str | bytes, file: BinaryIO, max_bytes: int) -> tuple[int, str, str | None]:
    """Write an output to the file and return its size in bytes, SHA-256 and claimed content type."""
    if isinstance(source, str):
        fetched = hook.download(source, file, max_bytes=max_bytes)
        return fetched.bytes, fetched.sha256, fetched.content_type
    if len(source) > max_bytes:
        raise SegmindOutputError(f"it has {len(source)} bytes, more than the {max_bytes} allowed")
    file.write(source)
    return len(source), hashlib.sha256(source).hexdigest(), None


def _verified(fetched: Fetched, expected: Expected, *, is_downloaded: bool) -> Fetched:
    """Verify that an image is whole and large enough; keep the small copy if the verification decodes it anyway."""
    file, copies = fetched.file, list[Reduced]()
    turn = orientation(file) if expected.compares else 1

    def keep(image: Image.Image) -> None:
        with suppress(SegmindOutputError), image_errors():  # what cannot be scaled down is whole all the same
            copies.append(reduced(image, turn))

    pixels = None
    with _unless_off(expected):
        decoded = keep if expected.compares else lambda image: None
        pixels = _size(file, decoded, whole=expected.verify != "off", is_downloaded=is_downloaded)
    if pixels is not None:
        with _unless_off(expected):
            expected.check_size(*pixels)
    return replace(fetched, pixels=pixels, copy=copies[0] if copies else None)


@contextmanager
def _unless_off(expected: Expected) -> Iterator[None]:
    """With ``verify="off"`` log what is wrong with an output, else raise it."""
    try:
        yield
    except SegmindOutputError as error:
        if expected.verify != "off":
            raise
        log.warning("verify='off': the output is stored although %s", error.detail)


def _check_other(head: bytes, announced: str | None, claimed: str | None, *, must_be_image: bool) -> None:
    """Raise SegmindOutputError for a content that is not an image where one is required, or was announced."""
    if must_be_image:
        found = format_name(head) or f"unknown (it begins with {head[:16]!r})"
        raise SegmindOutputError(f"it is not an image of the upscalers: its format is {found}; announced as {claimed}")
    if is_not_announced(head, announced):
        raise SegmindOutputError(f"it is not {announced}: {claimed}, beginning with {head[:60]!r}")


def _size(
    file: BinaryIO, decoded: Callable[[Image.Image], None], *, whole: bool, is_downloaded: bool
) -> tuple[int, int]:
    try:
        return verified_size(file, whole=whole, decoded=decoded)
    except SegmindOutputError as error:
        error.retryable = is_downloaded  # the host may send all of it next time; an inline output stays as it is
        raise
