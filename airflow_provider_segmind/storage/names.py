"""
Names of objects: the placeholders of a destination (``s3://bucket/{model}/{stem}.{ext}``), and how names compare.

Pure text, no storage access.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.protocol.urls import is_url

#: Placeholder -> what it is replaced by.
PLACEHOLDERS = {
    "model": "the model's slug",
    "stem": "the input's name without folder and extension; a hash if it has no name",
    "request_id": "Segmind's request id",
    "map_index": "Airflow's map index, -1 if the task is not mapped",
    "ext": "the extension of the output's actual format, without a dot: jpg, png, webp",
}
#: Stand for what is known only once the output is: a request id, and the longest extension that is written.
LONGEST_VALUES = {"request_id": "00000000-0000-0000-0000-000000000000", "ext": "webp"}
#: Folder for outputs that are not the image that was asked for. Images in it are not inputs.
QUARANTINE = ".quarantine"
#: Digits of the key of a request in a name that this package makes.
KEY_DIGITS = 8
#: Bytes of an input's name in a name that this package makes.
_LONGEST_STEM = 80
_FIELD = re.compile(r"\{([^{}]*)\}")
#: Separators, characters of patterns, and control characters.
_UNSAFE = re.compile(r"[/\\*?\[\]{}\x00-\x1f\x7f]+")


def placeholders(uri: str) -> set[str]:
    """Return the placeholders in a URI; raise SegmindConfigError if it is not text, such as a mapped None."""
    if not isinstance(uri, str):
        raise SegmindConfigError(f"destination: {uri!r:.200} is not a URI such as s3://bucket/folder/")
    return set(_FIELD.findall(uri))


def check_placeholders(uri: str, known: Collection[str] = tuple(PLACEHOLDERS)) -> None:
    """Raise SegmindConfigError for a placeholder that is not known."""
    if unknown := sorted(placeholders(uri) - set(known)):
        raise SegmindConfigError(
            f"destination: unknown placeholder {', '.join(f'{{{name}}}' for name in unknown)}; "
            f"known: {', '.join(f'{{{name}}}' for name in known)}"
        )


def fill(uri: str, values: Mapping[str, str]) -> str:
    """Return the URI with its placeholders replaced; no value can lead to another folder."""
    check_placeholders(uri, tuple(values))
    return _FIELD.sub(lambda found: safe(values[found[1]]), uri)


def safe(value: str) -> str:
    """Return a value as one segment of a path: without separators, not ``..``, not empty."""
    cleaned = _UNSAFE.sub("_", value).strip()
    return cleaned if cleaned.strip(".") else "_"


def cut(text: str, size: int) -> str:
    """Return the first characters of a text that fit into a number of bytes: stores count bytes, not characters."""
    content = text.encode(errors="surrogateescape")
    return text if len(content) <= size else content[: max(0, size)].decode(errors="ignore")


def keyed(stem: str, key: str) -> str:
    """
    Return the name of an output: the input's name, cut after 80 bytes, and the key of the request.

    :param stem: the input's name, without its extension.
    :param key: the key, or its first digits.
    """
    return f"{cut(stem, _LONGEST_STEM)}-{key}"


def folded(name: str) -> str:
    """Return a form that is equal for names that differ in case or Unicode form: some stores treat them as the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def stem_of(source: str | None, *, otherwise: str) -> str:
    """
    Return the name of an input without its extension.

    :param source: a URI, a URL, or an image as base64: then the result is a part of its hash.
    :param otherwise: the result for a missing input.
    """
    if not source:
        return otherwise
    is_address = "://" in source[:32]
    name = unquote(urlsplit(source).path.rpartition("/")[2]) if is_url(source) else source.rpartition("/")[2]
    stem = PurePosixPath(safe(name)).stem if is_address and name else ""
    return (stem.strip("._ ") and stem) or hashlib.sha256(source.encode()).hexdigest()[:12]
