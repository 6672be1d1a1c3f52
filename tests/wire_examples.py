"""The example answers under tests/wire, as the client's :class:`Answer`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from airflow_provider_segmind.protocol.answers import Answer

WIRE = Path(__file__).parent / "wire"


def wire_body(name: str) -> Any:
    """Return the body of an example."""
    return json.loads((WIRE / f"{name}.json").read_text())["body"]


def wire_answer(name: str, **headers: str) -> Answer:
    """Return an example as an answer, with more headers if given."""
    example = json.loads((WIRE / f"{name}.json").read_text())
    body = example["body"]
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Answer(example["status"], {**example["headers"], **headers}, content)


def answer(status: int, body: Any = None, **headers: str) -> Answer:
    """Build an answer of your own; bytes are taken as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)
