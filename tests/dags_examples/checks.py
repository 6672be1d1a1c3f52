"""Check the results of an example: the XComs of its tasks and the images that it stored."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from PIL import Image

if TYPE_CHECKING:
    from airflow_provider_segmind.emulator import Emulator

METRICS = {"cost", "remaining_credits", "inference_time", "queue_time", "total_time"}


def path_of(uri: str) -> Path:
    """Return the local path of a ``file://`` URI."""
    assert uri.startswith("file:///")
    return Path(unquote(uri.removeprefix("file://")))


def check_result(result: dict[str, Any], emulator: Emulator, *, model: str, stored: bool) -> None:
    """Compare the XCom of an upscaling task, field by field, with the emulator's record of the request."""
    assert set(result) == {"request_id", "model", "status", "output", "outputs", "metrics"} | (
        {"stored"} if stored else set()
    )
    [request] = [request for request in emulator.requests if request.request_id == result["request_id"]]
    assert request.model == result["model"] == model
    assert request.billed
    assert result["status"] == "COMPLETED"
    [output] = result["outputs"]
    assert set(output) == {"url", "content_type", "file_name", "file_size"}
    assert output["url"] == result["output"]
    assert output["url"].startswith(emulator.url)
    assert output["content_type"].startswith("image/")
    assert output["file_name"] in output["url"]
    assert set(result["metrics"]) == METRICS
    assert result["metrics"]["cost"] > 0
    assert result["metrics"]["remaining_credits"] < emulator.settings.credits
    for name in ("inference_time", "queue_time", "total_time"):
        assert result["metrics"][name] >= 0


def check_stored(stored: dict[str, Any], *, size: tuple[int, int], kind: str) -> Path:
    """Check an image in a local file against its XCom, its size and its content type; return its path."""
    path = path_of(stored["uri"])
    check_content(path.read_bytes(), stored, size=size, kind=kind)
    return path


def check_content(content: bytes, stored: dict[str, Any], *, size: tuple[int, int], kind: str) -> None:
    """Check the bytes of a stored image against its XCom, its size and its content type."""
    assert set(stored) - {"similarity", "metadata"} == {"uri", "bytes", "sha256", "content_type", "width", "height"}
    assert stored["bytes"] == len(content)
    assert stored["sha256"] == hashlib.sha256(content).hexdigest()
    assert stored["content_type"] == kind
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert image.size == (stored["width"], stored["height"]) == size
        assert Image.MIME[image.format or ""] == kind


def files_of(folder: Path) -> set[str]:
    """Return the relative paths of all files in a folder, temporary ones included."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
