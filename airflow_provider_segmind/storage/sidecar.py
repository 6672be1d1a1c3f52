"""The sidecar: a JSON beside a stored object that says what it is, what of, and what it cost."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from airflow_provider_segmind import __version__
from airflow_provider_segmind.protocol.previews import moved
from airflow_provider_segmind.protocol.urls import canonical_uri
from airflow_provider_segmind.protocol.wire import Metrics, OutputFile
from airflow_provider_segmind.storage.paths import fresh, refused_early

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_segmind.protocol.wire import Result

log = logging.getLogger(__name__)

_LARGEST = 1024**2  # bytes; a larger file is no sidecar


class About(BaseModel):
    """
    What a task knows of a request besides its result.

    :param fingerprint: of model, input (by its content where it was read), parameters and gateway.
    :param parameters: as sent, but for pictures and signatures: their hashes stand for them.
    :param input: ``uri`` (without a signature), and where it was read: ``sha256``, ``bytes``, ``transport``.
    :param task: the task instance: ``dag_id``, ``run_id``, ``task_id``, ``map_index``, ``try_number``.
    :param submitted_at: ISO 8601, UTC.
    """

    model_config = ConfigDict(defer_build=True, extra="ignore", frozen=True)

    fingerprint: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    input: dict[str, Any] = Field(default_factory=dict)
    task: dict[str, Any] = Field(default_factory=dict)
    submitted_at: str | None = None


class Sidecar(About):
    """What stands in the file: one object (``object``), and all objects of its request (``stored``)."""

    version: Literal[1] = 1
    provider: str = f"airflow-provider-segmind {__version__}"
    model: str
    request_id: str
    object: dict[str, Any]
    stored: list[dict[str, Any]]
    output: str | None = None
    outputs: list[OutputFile] = Field(default_factory=list)
    metrics: Metrics = Metrics()
    stored_at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def skipped(self, stored: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what a task hands on that found everything done: as if it had run, but at no cost."""
        return {
            "request_id": self.request_id,
            "model": self.model,
            "status": "COMPLETED",
            "output": self.output,
            "outputs": [file.model_dump(mode="json") for file in self.outputs],
            "metrics": Metrics(cost=0.0).model_dump(mode="json"),
            "stored": stored,
            "skipped": True,
        }


def sidecar_of(path: ObjectStoragePath) -> ObjectStoragePath:
    """Return the path of an object's sidecar."""
    return path.with_name(f"{path.name}.json")


def sidecars(result: Result, stored: list[dict[str, Any]], about: About) -> list[Sidecar]:
    """Return the sidecars of a request's objects, in their order."""
    return [
        Sidecar(
            **about.model_dump(),
            model=result.model,
            request_id=result.request_id,
            object=item,
            stored=stored,
            output=canonical_uri(result.output) if result.output else None,
            outputs=[file.model_copy(update={"url": canonical_uri(file.url)}) for file in result.outputs],
            metrics=result.metrics,
        )
        for item in stored
    ]


def find_done(path: ObjectStoragePath, fingerprint: str) -> dict[str, Any] | None:
    """Return what a task hands on if this object and its sidecar are there, made from the same; else None."""
    side = sidecar_of(path)
    with refused_early("sidecar", side):
        fs = fresh(side)
        if not fs.exists(side.path) or fs.size(side.path) > _LARGEST:
            return None
        text = bytes(fs.cat_file(side.path))
        try:
            found = Sidecar.model_validate_json(text)
        except ValidationError as error:
            log.warning("%s is no sidecar that this version can read (%d faults)", side, error.error_count())
            return None
        if found.fingerprint != fingerprint:
            log.info("%s is there, but made from another input or with other parameters", path)
            return None
        stored = []
        for item in found.stored:
            there = path.with_name(str(item.get("uri", "")).rpartition("/")[2] or path.name)
            if not fs.exists(there.path) or fs.size(there.path) != item.get("bytes"):
                log.info("%s is gone, or not what its sidecar says", there)
                return None
            preview = {"preview": seen} if (seen := moved(item.pop("preview", None), str(there))) else {}
            stored.append({**item, "uri": str(there)} | preview)
    return found.skipped(stored) if stored else None
