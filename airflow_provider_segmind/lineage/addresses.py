"""URIs of assets and the URLs among parameters, as lineage shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_segmind.protocol.urls import canonical_uri, is_url


def asset_uri(uri: str) -> str:
    """Return the URI of an object's asset. Airflow would read a plain ``?`` or ``#`` as a query or a fragment."""
    return canonical_uri(uri).replace("?", "%3F").replace("#", "%23")


def urls_in(value: Any) -> Iterator[str]:
    """Yield the URLs among parameters, without login, query and fragment, which may be secret."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from urls_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from urls_in(item)
    elif isinstance(value, str) and is_url(value):
        yield canonical_uri(value)
