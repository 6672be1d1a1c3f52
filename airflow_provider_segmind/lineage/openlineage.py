"""Datasets and facets for OpenLineage. Imported only when its listener asks, because the package is optional."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.openlineage.facet import (
    DatasetFacet,
    InputDataset,
    OutputDataset,
    OutputStatisticsOutputDatasetFacet,
    RunFacet,
)
from airflow.providers.openlineage.extractors import OperatorLineage
from attrs import define

from airflow_provider_segmind.lineage.task_lineage import TaskLineage
from airflow_provider_segmind.protocol.urls import canonical_uri, dataset_name

#: Inputs or outputs beyond this number are named by their folders. Airflow's hook lineage has the same limit.
MAX_DATASETS = 100


@define
class SegmindRequestRunFacet(RunFacet):
    """
    The request of a task, or the numbers of a batch.

    The cost is in USD, the balance in credits, times in seconds. ``parameters`` is redacted: no images, logins or
    signatures.
    """

    model: str
    requestId: str | None = None  # noqa: N815  OpenLineage's spelling
    parameters: dict[str, Any] | None = None
    cost: float | None = None
    remainingCredits: float | None = None  # noqa: N815
    inferenceTime: float | None = None  # noqa: N815
    queueTime: float | None = None  # noqa: N815
    totalTime: float | None = None  # noqa: N815
    skipped: bool = False
    batch: dict[str, Any] | None = None


@define
class SegmindImageDatasetFacet(DatasetFacet):
    """One stored object; ``inputs`` are the inputs it was made from, also in a batch."""

    uri: str
    bytes: int
    sha256: str
    contentType: str  # noqa: N815
    width: int | None = None
    height: int | None = None
    name: str | None = None
    model: str | None = None
    requestId: str | None = None  # noqa: N815
    cost: float | None = None
    inputs: list[str] | None = None


def operator_lineage(lineage: TaskLineage) -> OperatorLineage[Any, Any]:
    """Return the datasets and the run facet of a task."""
    metrics = lineage.metrics
    request = SegmindRequestRunFacet(
        model=lineage.model,
        requestId=lineage.request_id,
        parameters=dict(lineage.parameters),
        cost=metrics.get("cost"),
        remainingCredits=metrics.get("remaining_credits"),
        inferenceTime=metrics.get("inference_time"),
        queueTime=metrics.get("queue_time"),
        totalTime=metrics.get("total_time"),
        skipped=lineage.skipped,
        batch=None if lineage.batch is None else dict(lineage.batch),
    )
    return OperatorLineage(
        inputs=[InputDataset(*dataset_name(uri)) for uri in _named(lineage.inputs)],
        outputs=_outputs(lineage),
        run_facets={"segmind_request": request},
    )


def _named(uris: list[str]) -> list[str]:
    """Return the URIs, or their folders if they are more than ``MAX_DATASETS``."""
    found = list(dict.fromkeys(canonical_uri(uri) for uri in uris))
    if len(found) > MAX_DATASETS:
        found = list(dict.fromkeys(uri.rpartition("/")[0] + "/" for uri in found))[:MAX_DATASETS]
    return found


def _outputs(lineage: TaskLineage) -> list[OutputDataset]:
    if len(lineage.images) <= MAX_DATASETS:
        return [_image(found) for found in lineage.images] or [
            OutputDataset(*dataset_name(uri)) for uri in _named(lineage.output_urls)
        ]
    sizes: dict[str, list[int]] = {}
    for found in lineage.images:
        sizes.setdefault(canonical_uri(found["uri"]).rpartition("/")[0] + "/", []).append(found["bytes"])
    return [
        OutputDataset(*dataset_name(folder), outputFacets={"outputStatistics": _statistics(*found)})
        for folder, found in sizes.items()
    ]


def _image(found: dict[str, Any]) -> OutputDataset:
    facet = SegmindImageDatasetFacet(
        uri=found["uri"],
        bytes=found["bytes"],
        sha256=found["sha256"],
        contentType=found["content_type"],
        width=found.get("width"),
        height=found.get("height"),
        name=found.get("name"),
        model=found.get("model"),
        requestId=found.get("request_id"),
        cost=found.get("cost"),
        inputs=found.get("inputs"),
    )
    return OutputDataset(
        *dataset_name(found["uri"]),
        facets={"segmind_image": facet},
        outputFacets={"outputStatistics": _statistics(found["bytes"])},
    )


def _statistics(*sizes: int) -> OutputStatisticsOutputDatasetFacet:
    return OutputStatisticsOutputDatasetFacet(size=sum(sizes), fileCount=len(sizes))
