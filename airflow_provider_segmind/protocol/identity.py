"""What makes two requests the same: model, parameters and gateway, without what is another one at each try. Pure."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from airflow_provider_segmind.protocol.wire import is_url

#: Characters of a fingerprint that identify a request within a task or a batch.
KEY_LENGTH = 20
#: Query parameters by which a store signs a URL: AWS, Google, CloudFront and old S3, Azure.
_SIGNED = re.compile(
    r"^(x-(amz|goog)-.*|signature|sig|awsaccesskeyid|googleaccessid|key-pair-id|policy)$", re.IGNORECASE
)
#: Further ones that mean something of a signature only beside one of the above.
_BESIDE = re.compile(r"^(expires|se|st|sp|spr|sr|sv|ske|skt|skoid|sktid|sks|skv)$", re.IGNORECASE)


def fingerprint(model: str, identity: Mapping[str, Any], gateway: str) -> str:
    """
    Return what identifies a request: the same model, inputs and gateway have the same fingerprint.

    :param model: the slug.
    :param identity: the parameters; for an input that was read, its hash instead of the image.
    :param gateway: base URL of the gateway.
    :return: a SHA-256 (hex).
    """
    text = json.dumps([model, canonical(identity), gateway], sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def key_of(model: str, identity: Mapping[str, Any], gateway: str) -> str:
    """Return the beginning of a fingerprint: the key of a request record, and of a row in a manifest."""
    return fingerprint(model, identity, gateway)[:KEY_LENGTH]


def canonical(value: Any) -> Any:
    """Return parameters with the signatures of their URLs removed: a presigned URL is another one each time."""
    if isinstance(value, Mapping):
        return {name: canonical(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    return without_signature(value) if isinstance(value, str) and "?" in value and is_url(value) else value


@functools.lru_cache(maxsize=4096)
def without_signature(url: str) -> str:
    """Return a URL without the query parameters that sign it; other parameters may tell one image from another."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    if not any(_SIGNED.match(name) for name, _ in query):
        return url
    kept = [(name, value) for name, value in query if not _SIGNED.match(name) and not _BESIDE.match(name)]
    return parts._replace(query=urlencode(kept), fragment="").geturl()


def without_query(url: str) -> str:
    """Return a URL without its query, where a signature would stand, and without a login."""
    scheme, mark, rest = url.partition("?")[0].partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"
