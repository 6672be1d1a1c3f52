"""Small images of many kinds, made with Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image

#: Name -> format, mode, options of Pillow.
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jpeg": ("JPEG", "RGB", {}),
    "jpeg-grey": ("JPEG", "L", {}),
    "jpeg-cmyk": ("JPEG", "CMYK", {}),
    "jpeg-rgb": ("JPEG", "RGB", {"keep_rgb": True}),
    "jpeg-444": ("JPEG", "RGB", {"subsampling": 0, "quality": 100}),
    "jpeg-restarts": ("JPEG", "RGB", {"restart_marker_blocks": 3}),
    "jpeg-progressive": ("JPEG", "RGB", {"progressive": True}),
    "jpeg-optimized": ("JPEG", "RGB", {"optimize": True}),
    "png": ("PNG", "RGB", {}),
    "png-alpha": ("PNG", "RGBA", {}),
    "png-grey": ("PNG", "L", {}),
    "png-grey-alpha": ("PNG", "LA", {}),
    "png-16": ("PNG", "I;16", {}),
    "png-1": ("PNG", "1", {}),
    "png-palette": ("PNG", "P", {}),
    "png-palette-16": ("PNG", "P", {"bits": 4}),
    "png-palette-alpha": ("PNG", "P", {"transparency": 3}),
    "webp": ("WEBP", "RGB", {}),
    "webp-alpha": ("WEBP", "RGBA", {}),
    "webp-lossless": ("WEBP", "RGBA", {"lossless": True}),
}


def drawn(mode: str = "RGB", size: tuple[int, int] = (75, 53)) -> Image.Image:
    """Return an image with structure and noise, the same in each run."""
    ramp = Image.linear_gradient("L").resize(size)
    other = Image.radial_gradient("L").resize(size)
    rough = Image.frombytes("L", size, bytes((n * n * 7 + n // 3) % 251 for n in range(size[0] * size[1])))
    image = Image.merge("RGB", (ramp, other, Image.blend(ramp, rough, 0.4)))
    return image.convert("L").convert(mode) if mode == "I;16" else image.convert(mode)


def encoded(kind: str, size: tuple[int, int] = (75, 53), **more: Any) -> bytes:
    """Return an image of one of the kinds."""
    if kind.startswith("png-interlaced"):
        return interlaced(size, depth=16 if kind.endswith("16") else 8)
    form, mode, options = KINDS[kind]
    file = io.BytesIO()
    drawn(mode, size).save(file, form, **{**options, **more})
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def interlaced(size: tuple[int, int], depth: int = 8) -> bytes:
    """Return an Adam7 PNG in grey, which Pillow does not write."""
    width, height = size
    rows = b""
    for step_x, step_y, left, top in (
        (8, 8, 0, 0),
        (8, 8, 4, 0),
        (4, 8, 0, 4),
        (4, 4, 2, 0),
        (2, 4, 0, 2),
        (2, 2, 1, 0),
        (1, 2, 0, 1),
    ):
        for y in range(top, height, step_y):
            row = b"".join(bytes(((x * 3 + y * 5) % 256,)) * (depth // 8) for x in range(left, width, step_x))
            rows += b"\0" + row if row else b""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


ALL_KINDS = (*KINDS, "png-interlaced", "png-interlaced-16")


def with_png_chunks(content: bytes, *chunks: bytes, before: bytes = b"IDAT") -> bytes:
    """Return a PNG with further chunks before the first one of a kind."""
    place = content.index(before) - 4
    return content[:place] + b"".join(chunks) + content[place:]


def with_jpeg_segments(content: bytes, *segments: tuple[int, bytes]) -> bytes:
    """Return a JPEG with further segments, each a marker's second byte and content, at its beginning."""
    more = b"".join(b"\xff" + bytes((code,)) + struct.pack(">H", len(text) + 2) + text for code, text in segments)
    return content[:2] + more + content[2:]
