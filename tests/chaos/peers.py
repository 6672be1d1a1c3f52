"""The alternatives: the vendor's SDK in a task, and the download after Airflow's HTTP operators."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, BinaryIO

import httpx
from segmind import SegmindClient  # type: ignore[import-untyped]


def save(url: str, path: str) -> str:
    """Download a file."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file, httpx.stream("GET", url, trust_env=False) as response:
        fetch(response, file)
    return saved(path)


def fetch(response: httpx.Response, file: BinaryIO) -> None:
    """Copy the body."""
    for piece in response.iter_bytes():
        file.write(piece)


def saved(path: str) -> str:
    """Return the path. Kills strike here, after the file is saved."""
    return path


def upscale_by_sdk(image: str, path: str) -> str:
    """Submit, wait and save, as the SDK's page shows it."""
    client = SegmindClient(base_url=f"{os.environ['CHAOS_GATEWAY']}/v1")
    received: dict[str, Any] = client.run("esrgan", image=image, scale=2)
    return save(output_of(received), path)


def output_of(received: dict[str, Any]) -> str:
    """Return the output URL of a result."""
    output = received["output"]
    return str(output[0] if isinstance(output, list) else output)
