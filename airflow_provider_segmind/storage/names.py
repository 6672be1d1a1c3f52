"""Placeholders of a destination: ``s3://bucket/{model}/{stem}.{ext}``. Pure text, and safe to be part of a path."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.protocol.urls import is_url

#: What a destination may name, and what it becomes.
PLACEHOLDERS = {
    "model": "the model's slug",
    "stem": "the input's name without folder and ending; a hash where it has no name",
    "request_id": "Segmind's request id",
    "map_index": "Airflow's map index, -1 where the task is not mapped",
    "ext": "the ending of what the output is, without a dot: jpg, png, webp",
}
_FIELD = re.compile(r"\{([^{}]*)\}")
#: Separators, what a filesystem may take for a pattern, and what no name should have.
_UNSAFE = re.compile(r"[/\\*?\[\]{}\x00-\x1f\x7f]+")


def placeholders(uri: str) -> set[str]:
    """Return the names in braces; raise SegmindConfigError for what is not even text, such as a mapped None."""
    if not isinstance(uri, str):
        raise SegmindConfigError(f"destination: {uri!r:.200} is no URI such as s3://bucket/folder/")
    return set(_FIELD.findall(uri))


def check_placeholders(uri: str, known: Collection[str] = tuple(PLACEHOLDERS)) -> None:
    """Raise SegmindConfigError for a name in braces that nothing stands for."""
    if unknown := sorted(placeholders(uri) - set(known)):
        raise SegmindConfigError(
            f"destination: unknown placeholder {', '.join(f'{{{name}}}' for name in unknown)}; "
            f"known: {', '.join(f'{{{name}}}' for name in known)}"
        )


def fill(uri: str, values: Mapping[str, str]) -> str:
    """Return the URI with its placeholders filled; no value can leave the folder in which it stands."""
    check_placeholders(uri, tuple(values))
    return _FIELD.sub(lambda found: safe(values[found[1]]), uri)


def safe(value: str) -> str:
    """Return a value as one part of a path: no separator, no ``..``, never empty."""
    cleaned = _UNSAFE.sub("_", value).strip()
    return cleaned if cleaned.strip(".") else "_"


def stem_of(source: str | None, *, otherwise: str) -> str:
    """
    Return the name of an input without its ending.

    :param source: a URI, a URL, or the picture itself as base64: then a part of its hash.
    :param otherwise: what to return where there is no input.
    """
    if not source:
        return otherwise
    is_address = "://" in source[:32]
    name = unquote(urlsplit(source).path.rpartition("/")[2]) if is_url(source) else source.rpartition("/")[2]
    stem = PurePosixPath(safe(name)).stem if is_address and name else ""
    return (stem.strip("._ ") and stem) or hashlib.sha256(source.encode()).hexdigest()[:12]
