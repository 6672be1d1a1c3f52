"""
Previews as data: the name of a preview, the reference to it in XCom, and how a preview is verified. Pure.

The API server gets the address of a preview from an XCom, and any task may push any XCom. So the address alone is not
enough: the reference has the SHA-256 of the content, and the content names the DAG that made it. Neither needs a
secret; docs/security.md states what this guarantees and what it does not.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

#: ``before`` is the input, ``after`` the output.
Which = Literal["before", "after"]
#: Pixels of the longer side, at most.
LONGEST_SIDE = 512
#: Bytes, at most.
MAX_BYTES = 100_000
_EXTENSIONS: Mapping[Which, str] = {"after": ".preview.webp", "before": ".before.webp"}
_CHUNKS = {b"VP8X", b"VP8 ", b"XMP "}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Reference(BaseModel):
    """
    A reference to one preview, in XCom and in the sidecar: ``stored[n]["preview"]["before" or "after"]``.

    :param uri: beside the object: the object's name and an extension of its own.
    :param width: pixels.
    :param height: pixels.
    :param bytes: its size.
    :param sha256: of its content.
    """

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True, strict=True)

    uri: str = Field(max_length=4096)
    width: int = Field(ge=1, le=LONGEST_SIDE)
    height: int = Field(ge=1, le=LONGEST_SIDE)
    bytes: int = Field(ge=1, le=MAX_BYTES)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


def name_of(name: str, which: Which) -> str:
    """Return the name, or the URI, of an object's preview."""
    return name + _EXTENSIONS[which]


def is_preview(name: str) -> bool:
    """Return whether a name is that of a preview, which is not an image to be upscaled."""
    return name.endswith(tuple(_EXTENSIONS.values()))


def moved(previews: Any, uri: str) -> dict[str, Any] | None:
    """Return the references of an object that has this URI now; None if it has no previews."""
    if not isinstance(previews, Mapping):
        return None
    return {
        which: {**found, "uri": name_of(uri, which)} if isinstance(found := previews.get(which), Mapping) else None
        for which in get_args(Which)
    }


def reference_in(value: Any, n: int, which: Which) -> Reference | None:
    """
    Return the preview that a task's XCom refers to; None if there is none, or if the reference is not valid.

    :param value: the task's return value.
    :param n: number of the stored object, from 0.
    :param which: ``before`` for the input's preview, ``after`` for the output's.
    """
    try:
        stored = value["stored"][n]
        found = Reference.model_validate(stored["preview"][which])
        beside = found.uri == name_of(stored["uri"], which)
    except (KeyError, IndexError, TypeError, ValidationError):
        return None
    parts = found.uri.partition("://")[2].split("/")
    return found if beside and len(parts) > 1 and ".." not in parts and not _CONTROL.search(found.uri) else None


def marker(dag_id: str) -> bytes:
    """Return the XMP packet of a preview: it names this provider and the DAG that made the preview."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:segmind="urn:airflow-provider-segmind:preview:1" '
        f'segmind:dag="{html.escape(dag_id)}"/></rdf:RDF></x:xmpmeta>'
    ).encode()


def is_genuine(content: bytes, reference: Reference, dag_id: str) -> bool:
    """
    Return whether this is the file that the reference names, a small WebP image that was made in this DAG.

    Only the container is read, not the pixels: an image that attacks a decoder is not decoded here.
    """
    if len(content) != reference.bytes or hashlib.sha256(content).hexdigest() != reference.sha256:
        return False
    chunks = _chunks(content)
    if chunks is None or set(chunks) - {b"ALPH"} != _CHUNKS or chunks[b"XMP "] != marker(dag_id):
        return False
    canvas, frame = chunks[b"VP8X"], chunks[b"VP8 "]
    if len(canvas) != 10 or frame[3:6] != b"\x9d\x01\x2a":
        return False
    sizes = {
        (1 + int.from_bytes(canvas[4:7], "little"), 1 + int.from_bytes(canvas[7:10], "little")),
        (int.from_bytes(frame[6:8], "little") & 0x3FFF, int.from_bytes(frame[8:10], "little") & 0x3FFF),
    }
    return sizes == {(reference.width, reference.height)}


def _chunks(content: bytes) -> dict[bytes, bytes] | None:
    """Return the chunks of a WebP file by their names; None for any other file, and for one with extra bytes."""
    if content[:4] != b"RIFF" or content[8:12] != b"WEBP" or int.from_bytes(content[4:8], "little") != len(content) - 8:
        return None
    found: dict[bytes, bytes] = {}
    at = 12
    while at < len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        if name in found or at + 8 + size > len(content):
            return None
        found[name] = content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return found if at == len(content) else None
