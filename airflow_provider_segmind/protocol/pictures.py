"""Picture formats by their first bytes: the content type that is true, whatever a header or a name claims."""

from __future__ import annotations

import base64
import re

#: Content type -> file extension, for what the models take and give.
EXTENSIONS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/bmp": ".bmp",
    "image/tiff": ".tiff",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "text/plain": ".txt",
}
HEAD = 16  # bytes that content_type() needs

_MAGIC = (
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"BM"), "image/bmp"),
    (re.compile(rb"II\*\x00|MM\x00\*"), "image/tiff"),
    (re.compile(rb"....ftyp", re.DOTALL), "video/mp4"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "video/webm"),
    (re.compile(rb"RIFF....WAVE", re.DOTALL), "audio/wav"),
    (re.compile(rb"ID3|\xff[\xf2\xf3\xfb]"), "audio/mpeg"),
)


def content_type(head: bytes) -> str | None:
    """Return the content type that these first bytes show, or None."""
    return next((kind for magic, kind in _MAGIC if magic.match(head)), None)


def is_picture(head: bytes) -> bool:
    """Tell whether these first bytes begin a picture."""
    return (content_type(head) or "").startswith("image/")


def data_uri(content: bytes, guessed: str | None = None) -> str:
    """Return the content as a data URI, with the type that its first bytes show, or the guessed one."""
    kind = content_type(content[:HEAD]) or guessed or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
