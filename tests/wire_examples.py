"""The example responses under tests/wire, as :class:`Response`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from airflow_provider_segmind.protocol.responses import Response

WIRE = Path(__file__).parent / "wire"


def wire_body(name: str) -> Any:
    """Return the body of an example."""
    return json.loads((WIRE / f"{name}.json").read_text())["body"]


def wire_response(name: str, **headers: str) -> Response:
    """Return an example as a response, with more headers if given."""
    example = json.loads((WIRE / f"{name}.json").read_text())
    body = example["body"]
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return Response(example["status"], {**example["headers"], **headers}, content)


def response(status: int, body: Any = None, **headers: str) -> Response:
    """Return a response with any status and body; bytes are not encoded."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)
