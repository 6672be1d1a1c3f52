"""PNG: walk the chunks, and verify everything that decides about the pixels."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

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


def header_of(file: BinaryIO, chunk: Chunk) -> tuple[int, ...]:
    """Return what the chunk ``IHDR`` states: width, height, depth, color type, compression, filter, interlacing."""
    content = chunk.head(file, 13)
    if len(content) < 13:
        raise MalformedError("it is cut inside its header (IHDR)")
    return struct.unpack(">IIBBBBB", content)


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
    header = next((chunk for chunk in chunks(file) if chunk.kind == b"IHDR"), None)
    if header is None:
        raise MalformedError("its header (IHDR) is missing")
    expected = _expected_bytes(header_of(file, header))
    try:
        found = _inflated_bytes(_compressed_pixels(file), expected)
    except zlib.error as error:
        raise MalformedError("its compressed pixels (IDAT) are damaged") from error
    if found < expected:
        raise MalformedError(f"only {found} of {expected} bytes of its pixels are there")


def _compressed_pixels(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of IDAT in blocks; verify all chunks that decide about pixels, and that IEND is the last."""
    kind = b""
    for chunk in chunks(file):
        kind = chunk.kind
        if kind in _PIXELS:
            blocks = _verified(file, chunk)
            yield from (block for block in blocks if kind == b"IDAT")
    if kind != b"IEND":
        raise MalformedError("its end (IEND) is missing")


def _verified(file: BinaryIO, chunk: Chunk) -> Iterator[bytes]:
    """Yield the content of a chunk in blocks; raise MalformedError if its checksum is wrong."""
    file.seek(chunk.content)
    checksum, left = zlib.crc32(chunk.kind), chunk.length
    while left:
        block = file.read(min(left, _BLOCK))
        if not block:
            raise MalformedError(f"it is cut inside its chunk {chunk.kind.decode()}")
        checksum, left = zlib.crc32(block, checksum), left - len(block)
        yield block
    if file.read(4) != checksum.to_bytes(4):
        raise MalformedError(f"the checksum of its chunk {chunk.kind.decode()} is wrong")


def _inflated_bytes(blocks: Iterator[bytes], most: int) -> int:
    """Return how many bytes these blocks have once inflated; what follows the first ``most`` is not inflated."""
    inflate, found = zlib.decompressobj(), 0
    for block in blocks:
        left = block
        while left and found <= most and not inflate.eof:
            found += len(inflate.decompress(left, _BLOCK))
            left = inflate.unconsumed_tail
    while found < most and (more := inflate.decompress(b"", _BLOCK)):
        found += len(more)
    return found


def _expected_bytes(header: tuple[int, ...]) -> int:
    """Return the number of bytes of all rows, each with its filter type."""
    width, height, depth, color, _, _, interlace = header
    if color not in _CHANNELS or interlace > 1:
        raise MalformedError("its header (IHDR) is damaged")
    bits = depth * _CHANNELS[color]
    passes = _PASSES if interlace else ((1, 1, 0, 0),)
    sizes = ((-((left - width) // across), -((top - height) // down)) for across, down, left, top in passes)
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)
