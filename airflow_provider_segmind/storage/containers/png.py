"""PNG: walk the chunks, and verify everything that decides about the pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from airflow_provider_segmind.storage.containers.spans import Part

#: The chunks that decide about the pixels. APNG keeps its first image in them.
_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_SIGNATURE = 8
_MOST_CHUNKS = 1_000_000
_BLOCK = 1024**2
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
#: Adam7: step and first pixel of each pass, horizontally and vertically.
_PASSES = ((8, 8, 0, 0), (8, 8, 4, 0), (4, 8, 0, 4), (4, 4, 2, 0), (2, 4, 0, 2), (2, 2, 1, 0), (1, 2, 0, 1))


class Chunk(NamedTuple):
    """A chunk: its type, where its length field starts, and the length of its data."""

    kind: bytes
    start: int
    length: int


def chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield the chunks up to IEND, the end of the file or the first bytes that are not a chunk."""
    start = _SIGNATURE
    for _ in range(_MOST_CHUNKS):
        file.seek(start)
        head = file.read(8)
        if len(head) < 8 or not head[4:].isalpha():
            return
        chunk = Chunk(head[4:], start, int.from_bytes(head[:4]))
        yield chunk
        if chunk.kind == b"IEND":
            return
        start += 12 + chunk.length
    raise ValueError(f"it has more than {_MOST_CHUNKS} chunks")


def pixel_parts(file: BinaryIO) -> Iterator[Part]:
    """Yield the parts of the file that decide about the pixels."""
    yield 0, _SIGNATURE
    for kind, start, length in chunks(file):
        if kind in _PIXELS:
            yield start, start + 12 + length


def exif(file: BinaryIO, limit: int) -> bytes:
    """Return the first bytes of the EXIF data; empty if it has none."""
    for kind, start, length in chunks(file):
        if kind == b"eXIf":
            file.seek(start + 8)
            return file.read(min(length, limit))
    return b""


def verify(file: BinaryIO) -> None:
    """
    Verify that all pixels are there, with bounded memory at any size.

    Checks IEND, the checksum of each chunk that decides about the pixels, and that IDAT has the bytes of all rows.

    :raises ValueError: something is missing or damaged.
    """
    pixels: _Pixels | None = None
    kind = b""
    for kind, start, length in chunks(file):
        if kind not in _PIXELS:
            continue
        if kind == b"IHDR":
            file.seek(start + 8)
            pixels = _Pixels(_expected_bytes(file.read(13)))
        if pixels is None:
            raise ValueError("its header (IHDR) is missing")
        _verify_chunk(file, Chunk(kind, start, length), pixels)
    if pixels is None or kind != b"IEND":
        raise ValueError("its end (IEND) is missing")
    pixels.finish()


def _verify_chunk(file: BinaryIO, chunk: Chunk, pixels: _Pixels) -> None:
    """Verify the checksum of one chunk; decompress it if it is IDAT."""
    file.seek(chunk.start + 8)
    checksum, left = zlib.crc32(chunk.kind), chunk.length
    while left:
        block = file.read(min(left, _BLOCK))
        if not block:
            raise ValueError(f"it is cut inside its chunk {chunk.kind.decode()}")
        checksum, left = zlib.crc32(block, checksum), left - len(block)
        if chunk.kind == b"IDAT":
            pixels.feed(block)
    if file.read(4) != checksum.to_bytes(4):
        raise ValueError(f"the checksum of its chunk {chunk.kind.decode()} is wrong")


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
        """Raise ValueError if rows are missing."""
        while self._found < self._expected and self._count(b""):
            pass
        if self._found < self._expected:
            raise ValueError(f"only {self._found} of {self._expected} bytes of its pixels are there")

    def _count(self, block: bytes) -> int:
        try:
            found = len(self._inflate.decompress(block, _BLOCK))
        except zlib.error as error:
            raise ValueError("its compressed pixels (IDAT) are damaged") from error
        self._found += found
        return found


def _expected_bytes(header: bytes) -> int:
    """Return the number of bytes of all rows, each with its filter type."""
    if len(header) < 13:
        raise ValueError("it is cut inside its header (IHDR)")
    width, height, depth, color, _, _, interlace = struct.unpack(">IIBBBBB", header)
    if color not in _CHANNELS or interlace > 1:
        raise ValueError("its header (IHDR) is damaged")
    bits = depth * _CHANNELS[color]
    if not interlace:
        return _bytes_of(width, height, bits)
    return sum(
        _bytes_of(-(-max(0, width - left) // across), -(-max(0, height - top) // down), bits)
        for across, down, left, top in _PASSES
    )


def _bytes_of(width: int, height: int, bits: int) -> int:
    return height * (1 + (width * bits + 7) // 8) if width else 0
