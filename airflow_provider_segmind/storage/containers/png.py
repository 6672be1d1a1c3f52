"""PNG: walk the chunks, and verify everything that decides about the pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from airflow_provider_segmind.storage.containers.chunks import Chunk, MalformedError
from airflow_provider_segmind.storage.containers.spans import Part

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: The chunks that decide about the pixels. APNG keeps its first image in them.
_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_MOST_CHUNKS = 1_000_000
_BLOCK = 1024**2
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
#: Adam7: step and first pixel of each pass, horizontally and vertically.
_PASSES = ((8, 8, 0, 0), (8, 8, 4, 0), (4, 8, 0, 4), (4, 4, 2, 0), (2, 4, 0, 2), (2, 2, 1, 0), (1, 2, 0, 1))


class Header(NamedTuple):
    """The chunk ``IHDR``."""

    width: int
    height: int
    depth: int
    color: int
    compression: int
    filtering: int
    interlace: int


def chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield the chunks up to IEND, the end of the file or the first bytes that are not a chunk."""
    start = len(SIGNATURE)
    for _ in range(_MOST_CHUNKS):
        file.seek(start)
        head = file.read(8)
        if len(head) < 8 or not head[4:].isalpha():
            return
        length, kind = int.from_bytes(head[:4]), head[4:]
        yield Chunk(kind, start, start + 8, length, start + 12 + length)
        if kind == b"IEND":
            return
        start += 12 + length
    raise MalformedError(f"it has more than {_MOST_CHUNKS} chunks")


def header_of(file: BinaryIO, chunk: Chunk) -> Header:
    """Return what the chunk ``IHDR`` states."""
    content = chunk.head(file, 13)
    if len(content) < 13:
        raise MalformedError("it is cut inside its header (IHDR)")
    return Header(*struct.unpack(">IIBBBBB", content))


def pixel_parts(file: BinaryIO) -> Iterator[Part]:
    """Yield the parts of the file that decide about the pixels."""
    yield SIGNATURE
    for chunk in chunks(file):
        if chunk.kind in _PIXELS:
            yield chunk.start, chunk.end


def verify(file: BinaryIO) -> None:
    """
    Verify that all pixels are there, with bounded memory at any size.

    Checks IEND, the checksum of each chunk that decides about the pixels, and that IDAT has the bytes of all rows.

    :raises MalformedError: something is missing or damaged.
    """
    pixels: _Pixels | None = None
    kind = b""
    for chunk in chunks(file):
        kind = chunk.kind
        if kind == b"IHDR":
            pixels = _Pixels(_expected_bytes(header_of(file, chunk)))
        if kind not in _PIXELS:
            continue
        if pixels is None:
            raise MalformedError("its header (IHDR) is missing")
        _verify_chunk(file, chunk, pixels)
    if pixels is None or kind != b"IEND":
        raise MalformedError("its end (IEND) is missing")
    pixels.finish()


def _verify_chunk(file: BinaryIO, chunk: Chunk, pixels: _Pixels) -> None:
    """Verify the checksum of one chunk; decompress it if it is IDAT."""
    file.seek(chunk.content)
    checksum, left = zlib.crc32(chunk.kind), chunk.length
    while left:
        block = file.read(min(left, _BLOCK))
        if not block:
            raise MalformedError(f"it is cut inside its chunk {chunk.kind.decode()}")
        checksum, left = zlib.crc32(block, checksum), left - len(block)
        if chunk.kind == b"IDAT":
            pixels.feed(block)
    if file.read(4) != checksum.to_bytes(4):
        raise MalformedError(f"the checksum of its chunk {chunk.kind.decode()} is wrong")


class _Pixels:
    """
    The rows of an image as they are decompressed; only their bytes are counted.

    :param expected: bytes of all rows.
    """

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._found = 0
        self._inflate = zlib.decompressobj()

    def feed(self, block: bytes) -> None:
        """Decompress a block of IDAT."""
        while block and self._found <= self._expected and not self._inflate.eof:
            self._count(block)
            block = self._inflate.unconsumed_tail

    def finish(self) -> None:
        """Raise MalformedError if rows are missing."""
        while self._found < self._expected and self._count(b""):
            pass
        if self._found < self._expected:
            raise MalformedError(f"only {self._found} of {self._expected} bytes of its pixels are there")

    def _count(self, block: bytes) -> int:
        try:
            found = len(self._inflate.decompress(block, _BLOCK))
        except zlib.error as error:
            raise MalformedError("its compressed pixels (IDAT) are damaged") from error
        self._found += found
        return found


def _expected_bytes(header: Header) -> int:
    """Return the number of bytes of all rows, each with its filter type."""
    width, height = header.width, header.height
    if header.color not in _CHANNELS or header.interlace > 1:
        raise MalformedError("its header (IHDR) is damaged")
    bits = header.depth * _CHANNELS[header.color]
    if not header.interlace:
        return _bytes_of(width, height, bits)
    return sum(
        _bytes_of(-(-max(0, width - left) // across), -(-max(0, height - top) // down), bits)
        for across, down, left, top in _PASSES
    )


def _bytes_of(width: int, height: int, bits: int) -> int:
    return height * (1 + (width * bits + 7) // 8) if width else 0
