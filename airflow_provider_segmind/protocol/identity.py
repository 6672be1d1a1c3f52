"""What makes two requests the same: model, parameters and gateway, without what differs at each try. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from airflow_provider_segmind.protocol.urls import is_url, without_signature

#: Characters of a fingerprint that identify a request within a task or a batch.
KEY_LENGTH = 20


def fingerprint(model: str, identity: Mapping[str, Any], gateway: str) -> str:
    """
    Return the fingerprint of a request: the same model, inputs and gateway have the same fingerprint.

    :param model: the slug.
    :param identity: the parameters; for an input file that was read, the hash of its content instead of the image.
    :param gateway: base URL of the gateway.
    :return: a SHA-256 (hex).
    """
    text = json.dumps(
        [model, canonical_parameters(identity), gateway], sort_keys=True, separators=(",", ":"), default=str
    )
    return hashlib.sha256(text.encode()).hexdigest()


def key_of(model: str, identity: Mapping[str, Any], gateway: str) -> str:
    """Return the beginning of a fingerprint: the key of a request record, and of a row in a manifest."""
    return fingerprint(model, identity, gateway)[:KEY_LENGTH]


def canonical_parameters(value: Any) -> Any:
    """Return parameters without the signatures of their URLs: the same object is presigned differently each time."""
    if isinstance(value, Mapping):
        return {name: canonical_parameters(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [canonical_parameters(item) for item in value]
    return without_signature(value) if isinstance(value, str) and "?" in value and is_url(value) else value
