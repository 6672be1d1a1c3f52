"""
URLs and the URIs of stored objects: what is one, its parts, and the form by which two of them compare.

Pure. Every other module takes URIs apart with these functions.
"""

from __future__ import annotations

import functools
import re
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

#: Other names of a scheme -> the name that is used in lineage and in comparisons.
SCHEME_ALIASES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "local": "file"}

#: Characters; a longer text is not treated as a URL.
_MAX_URL = 8192
_SPACE = re.compile(r"\s")
_QUERY_OR_FRAGMENT = re.compile(r"[?#].*", re.DOTALL)
#: Query parameters with which a store signs a URL: AWS, Google, CloudFront, S3's old signatures, Azure.
_SIGNATURE = re.compile(
    r"^(x-(amz|goog)-.*|signature|sig|awsaccesskeyid|googleaccessid|key-pair-id|policy)$", re.IGNORECASE
)
#: Query parameters that belong to a signature only if one of the above is present.
_PART_OF_SIGNATURE = re.compile(r"^(expires|se|st|sp|spr|sr|sv|ske|skt|skoid|sktid|sks|skv)$", re.IGNORECASE)


class Uri(NamedTuple):
    """
    The parts of ``scheme://authority/path``.

    :param scheme: as written.
    :param authority: the host or bucket, without a login or connection id before ``@``.
    :param path: everything after the authority, with its leading slash; may be empty.
    """

    scheme: str
    authority: str
    path: str


def is_url(value: Any) -> bool:
    """Return whether a value is an absolute http(s) URL."""
    if not isinstance(value, str) or len(value) > _MAX_URL or _SPACE.search(value):
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def url_of(value: Any) -> str | None:
    """Return the http(s) URL that a value of a response is, without white space around it; None if it is not one."""
    if not isinstance(value, str) or len(value) > 2 * _MAX_URL:
        return None
    url = value.strip()
    return url if is_url(url) else None


def split_uri(uri: str) -> Uri:
    """Return the parts of a URI, without its login or connection id."""
    scheme, _, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    return Uri(scheme, authority.rpartition("@")[2], slash + path)


def canonical_scheme(scheme: str) -> str:
    """Return the scheme's common name: ``s3`` for ``s3a``."""
    return SCHEME_ALIASES.get(scheme, scheme)


def canonical_uri(uri: str) -> str:
    """
    Return a URI without login or connection id, and a URL without query and fragment as well.

    The same object has the same canonical URI, whatever connection a task uses to reach it. A query may be a signature.
    """
    text = _QUERY_OR_FRAGMENT.sub("", uri) if is_url(uri) else uri
    scheme, authority, path = split_uri(text)
    return f"{canonical_scheme(scheme)}://{authority}{path}"


def dataset_name(uri: str) -> tuple[str, str]:
    """
    Return an object's OpenLineage namespace and name, as the providers of the storages name it.

    https://openlineage.io/docs/spec/naming
    """
    scheme, authority, path = split_uri(canonical_uri(uri))
    if scheme == "file":
        return (f"file://{authority}" if authority else "file"), path or "/"
    return f"{scheme}://{authority}", path.removeprefix("/") or path or "/"


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL."""
    parts = urlsplit(url)
    return (
        parts.scheme,
        (parts.hostname or "").rstrip("."),
        parts.port or (443 if parts.scheme == "https" else 80),
    )


@functools.lru_cache(maxsize=4096)
def without_signature(url: str) -> str:
    """Return a URL without the query parameters that sign it; other parameters may distinguish two images."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if not any(_SIGNATURE.match(name) for name, _ in query):
        return url
    kept = [(name, value) for name, value in query if not _SIGNATURE.match(name) and not _PART_OF_SIGNATURE.match(name)]
    return parts._replace(query=urlencode(kept), fragment="").geturl()
