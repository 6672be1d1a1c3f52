"""What a run of an example has left: the XCom of its tasks, the stored pictures."""

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
    assert uri.startswith("file:///")
    return Path(unquote(uri.removeprefix("file://")))


def check_result(result: dict[str, Any], emulator: Emulator, *, model: str, stored: bool) -> None:
    """The XCom of an upscaling task, field by field, against what the emulator knows."""
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
    """One picture stored in a local file: whole, of the right size and kind, and as the XCom says."""
    path = path_of(stored["uri"])
    check_content(path.read_bytes(), stored, size=size, kind=kind)
    return path


def check_content(content: bytes, stored: dict[str, Any], *, size: tuple[int, int], kind: str) -> None:
    """The same for a picture from anywhere, by its bytes."""
    assert set(stored) == {"uri", "bytes", "sha256", "content_type", "width", "height"}
    assert stored["bytes"] == len(content)
    assert stored["sha256"] == hashlib.sha256(content).hexdigest()
    assert stored["content_type"] == kind
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        assert image.size == (stored["width"], stored["height"]) == size
        assert Image.MIME[image.format or ""] == kind


def files_of(folder: Path) -> set[str]:
    """Everything in a folder: also what a write left behind."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
