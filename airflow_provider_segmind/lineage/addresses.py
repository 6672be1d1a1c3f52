"""Names of objects: what two tasks that mean the same object both call it, and nothing with which it is opened."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_segmind.protocol.wire import is_url

#: Other names of a scheme -> the one that lineage goes by.
_SCHEMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "local": "file"}
_QUERY = re.compile(r"[?#].*", re.DOTALL)


def bare(uri: str) -> str:
    """
    Return a URI without its connection id or login, and a URL without query and fragment, too.

    The same object is the same asset, whatever connection a task reaches it by; and a query may be a signature.
    """
    scheme, _, rest = uri.partition("://")
    if is_url(uri):
        rest = _QUERY.sub("", rest)
    host, slash, path = rest.partition("/")
    return f"{_SCHEMES.get(scheme, scheme)}://{host.rpartition('@')[2]}{slash}{path}"


def asset_uri(uri: str) -> str:
    """Return the URI of the asset that an object is. What Airflow would take for a query or a fragment is quoted."""
    return bare(uri).replace("?", "%3F").replace("#", "%23")


def dataset_name(uri: str) -> tuple[str, str]:
    """
    Return an object's OpenLineage namespace and name, as the providers of the storages name it.

    https://openlineage.io/docs/spec/naming
    """
    scheme, _, rest = bare(uri).partition("://")
    host, slash, path = rest.partition("/")
    if scheme == "file":
        return (f"file://{host}" if host else "file"), f"/{path}"
    return f"{scheme}://{host}", path or slash or "/"


def urls_in(value: Any) -> Iterator[str]:
    """Yield the URLs among parameters, without what may be secret in them."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from urls_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from urls_in(item)
    elif isinstance(value, str) and is_url(value):
        yield bare(value)
