"""The sidecar: a JSON file beside a stored object with its origin, its parameters and its cost."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from airflow_provider_segmind import __version__
from airflow_provider_segmind.protocol.preview_reference import moved
from airflow_provider_segmind.protocol.urls import canonical_uri
from airflow_provider_segmind.protocol.wire import Metrics, OutputFile
from airflow_provider_segmind.storage.paths import refused_early, uncached_fs

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_segmind.protocol.wire import Result

log = logging.getLogger(__name__)

_LARGEST = 1024**2  # bytes; a larger file is not read as a sidecar


class About(BaseModel):
    """
    What a sidecar states of a request besides its result.

    :param fingerprint: of model, input (its content, if it was read), parameters and gateway.
    :param parameters: as sent; images and signatures are replaced by their hashes.
    :param input: ``uri`` (without a signature) and, if it was read, ``sha256``, ``bytes`` and ``transport``.
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
    """The content of the file: one object (``object``) and all objects of its request (``stored``)."""

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
        """Return the result of a task that found everything stored: the result of the request, at no cost."""
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
    """
    Return the result of a task if its object and sidecar exist and have the same fingerprint; else None.

    :param path: the object.
    :param fingerprint: of the request that would be submitted.
    """
    side = sidecar_of(path)
    with refused_early("sidecar", side):
        fs = uncached_fs(side)
        if not fs.exists(side.path) or fs.size(side.path) > _LARGEST:
            return None
        text = bytes(fs.cat_file(side.path))
        try:
            found = Sidecar.model_validate_json(text)
        except ValidationError as error:
            log.warning(
                "%s is not a sidecar that this version can read (%d errors): it is ignored", side, error.error_count()
            )
            return None
        if found.fingerprint != fingerprint:
            log.info("%s exists, but was made from another input or with other parameters", path)
            return None
        stored = []
        for item in found.stored:
            neighbour = path.with_name(str(item.get("uri", "")).rpartition("/")[2] or path.name)
            if not fs.exists(neighbour.path) or fs.size(neighbour.path) != item.get("bytes"):
                log.info("%s is missing, or has another size than its sidecar states", neighbour)
                return None
            previews = moved(item.pop("preview", None), str(neighbour))
            stored.append({**item, "uri": str(neighbour)} | ({"preview": previews} if previews else {}))
    return found.skipped(stored) if stored else None
