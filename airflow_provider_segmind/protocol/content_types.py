"""Content types of images, videos and audio by their first bytes, which count more than a header or a name."""

from __future__ import annotations

import re

#: Content type -> extension, for the inputs and outputs of the models.
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
#: Other extensions of these formats -> the usual one.
SPELLINGS = {".jpeg": ".jpg", ".jpe": ".jpg", ".jfif": ".jpg", ".tif": ".tiff", ".heif": ".heic"}
#: Content types of images that are verified to be whole -> Pillow's names of their formats. Nothing else is decoded.
IMAGES = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}
HEAD = 256  # bytes; enough for every check here

_MAGIC = tuple(
    (re.compile(magic, re.DOTALL), kind)
    for magic, kind in (
        (rb"\xff\xd8\xff", "image/jpeg"),
        (rb"\x89PNG\r\n\x1a\n", "image/png"),
        (rb"RIFF....WEBP", "image/webp"),
        (rb"GIF8[79]a", "image/gif"),
        (rb"BM....\x00\x00\x00\x00", "image/bmp"),
        (rb"II[*+]\x00|MM\x00[*+]", "image/tiff"),
        # ISO media: the brand after "ftyp" identifies the kind (source: the register of brands at mp4ra.org).
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
#: Formats of images and documents that are only named in messages.
_NAMES = tuple(
    (re.compile(magic, re.DOTALL), name)
    for magic, name in (
        (rb"DDS ", "DDS"),
        (rb"icns", "ICNS"),
        (rb"8BPS", "Photoshop (PSD)"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript"),
        (rb"%PDF", "PDF"),
        (rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000"),
        (rb"\x00\x00\x00\x0cJXL |\xff\x0a", "JPEG XL"),
        (rb"\x00\x00[\x01\x02]\x00.\x00", "ICO"),
        (rb"P[1-7Ff]\s", "PPM"),
        (rb"qoif", "QOI"),
        (rb"\x76\x2f\x31\x01", "OpenEXR"),
        (rb"#\?(?:RADIANCE|RGBE)", "Radiance HDR"),
        (rb"gimp xcf", "XCF"),
        (rb"FUJIFILM", "camera RAW (RAF)"),
        (rb"PK\x03\x04", "ZIP"),
        (rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.{0,200})?(?:<!--.{0,200}-->\s*)?<svg", "SVG"),
        (rb"(?:\xef\xbb\xbf)?\s*<[!?a-z]", "HTML or XML"),
        (rb"(?:\xef\xbb\xbf)?\s*[{\[]", "JSON or other text"),
    )
)
_TEXT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<[!?a-z]|[{\[]\s*[\"{\[\]}\d])", re.IGNORECASE)


def content_type(head: bytes) -> str | None:
    """Return the content type that these first bytes show, or None if they show none."""
    return next((kind for magic, kind in _MAGIC if magic.match(head)), None)


def actual_type(head: bytes, claimed: str | None) -> str:
    """Return the content type of a file: by its first bytes, else the claimed one, if that is not disproved by them."""
    if (found := content_type(head)) is not None:
        return found
    return claimed if claimed and claimed not in IMAGES else "application/octet-stream"


def is_image(head: bytes) -> bool:
    """Return whether these first bytes begin an image that can be verified to be whole."""
    return content_type(head) in IMAGES


def format_name(head: bytes) -> str | None:
    """Return the name of the format that these first bytes show, for a message; None if they show none."""
    if (kind := content_type(head)) is not None:
        return EXTENSIONS[kind][1:].upper().replace("JPG", "JPEG")
    return next((name for magic, name in _NAMES if magic.match(head)), None)


def is_media(kind: str | None) -> bool:
    """Return whether a content type is that of an image, a video or audio."""
    return (kind or "").partition("/")[0].lower() in ("image", "video", "audio")


def is_not_announced(head: bytes, announced: str | None) -> bool:
    """Return whether the content is empty, a web page or JSON although an image, video or audio was announced."""
    if not is_media(announced) or announced == "image/svg+xml":
        return False
    return not head or (content_type(head) is None and _TEXT.match(head) is not None)


def type_of_name(name: str) -> str | None:
    """Return the content type that the extension of a file name or of a URL's path names, or None."""
    suffix = "." + name.partition("?")[0].partition("#")[0].rpartition(".")[2].lower()
    return next((kind for kind, extension in EXTENSIONS.items() if extension == SPELLINGS.get(suffix, suffix)), None)
