"""Formats of pictures, videos and sounds by their first bytes: the truth, whatever a header or a name claims."""

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
    "image/avif": ".avif",
    "image/heic": ".heic",
    "image/svg+xml": ".svg",
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "video/x-matroska": ".mkv",
    "video/x-msvideo": ".avi",
    "video/ogg": ".ogv",
    "audio/mpeg": ".mp3",
    "audio/wav": ".wav",
    "audio/ogg": ".ogg",
    "audio/flac": ".flac",
    "audio/mp4": ".m4a",
    "audio/aac": ".aac",
    "audio/aiff": ".aiff",
    "text/plain": ".txt",
    "application/json": ".json",
}
#: What Pillow reads, so that it can be proved to be whole.
_IMAGES = {"image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/tiff"}
HEAD = 256  # bytes that are enough for all that is asked here

_MAGIC = tuple(
    (re.compile(magic, re.DOTALL), kind)
    for magic, kind in (
        (rb"\xff\xd8\xff", "image/jpeg"),
        (rb"\x89PNG\r\n\x1a\n", "image/png"),
        (rb"RIFF....WEBP", "image/webp"),
        (rb"GIF8[79]a", "image/gif"),
        (rb"BM....\x00\x00\x00\x00", "image/bmp"),
        (rb"II\*\x00|MM\x00\*", "image/tiff"),
        # ISO media: the brand after "ftyp" tells which kind (source: the register of brands at mp4ra.org).
        (rb"....ftypavi[fs]", "image/avif"),
        (rb"....ftyp(?:hei|hev|mif1|msf1)", "image/heic"),
        (rb"....ftypqt  |....(?:moov|wide)", "video/quicktime"),
        (rb"....ftypM4[ABP]", "audio/mp4"),
        (rb"....ftyp", "video/mp4"),
        (rb"\x1a\x45\xdf\xa3.{0,60}?webm", "video/webm"),
        (rb"\x1a\x45\xdf\xa3", "video/x-matroska"),
        (rb"RIFF....AVI ", "video/x-msvideo"),
        (rb"RIFF....WAVE", "audio/wav"),
        (rb"FORM....AIF[FC]", "audio/aiff"),
        (rb"fLaC", "audio/flac"),
        (rb"OggS.{24,80}?\x80theora", "video/ogg"),
        (rb"OggS", "audio/ogg"),
        (rb"\xff[\xf0\xf1\xf8\xf9]", "audio/aac"),
        (rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]", "audio/mpeg"),
    )
)
_TEXT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<[!?a-z]|[{\[]\s*[\"{\[\]}\d])", re.IGNORECASE)


def content_type(head: bytes) -> str | None:
    """Return the content type that these first bytes show, or None."""
    return next((kind for magic, kind in _MAGIC if magic.match(head)), None)


def is_image(head: bytes) -> bool:
    """Tell whether these first bytes begin a picture that Pillow can prove to be whole."""
    return content_type(head) in _IMAGES


def is_media(kind: str | None) -> bool:
    """Tell whether a content type is that of a picture, a video or a sound."""
    return (kind or "").partition("/")[0].lower() in ("image", "video", "audio")


def is_imposter(head: bytes, announced: str | None) -> bool:
    """Tell whether nothing, a web page or JSON came in place of the medium that was announced."""
    if not is_media(announced) or announced == "image/svg+xml":
        return False
    return not head or (content_type(head) is None and _TEXT.match(head) is not None)


def type_of_name(name: str) -> str | None:
    """Return the content type that a file name or a URL's path claims by its ending, or None."""
    suffix = "." + name.partition("?")[0].partition("#")[0].rpartition(".")[2].lower()
    return next((kind for kind, extension in EXTENSIONS.items() if extension == suffix.replace("jpeg", "jpg")), None)


def data_uri(content: bytes, guessed: str | None = None) -> str:
    """Return the content as a data URI, with the type that its first bytes show, or the guessed one."""
    kind = content_type(content[:HEAD]) or guessed or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
