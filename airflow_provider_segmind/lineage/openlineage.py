"""Datasets and facets for OpenLineage. Imported only by its listener's call: the package need not be there."""

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

#: So many inputs or outputs are named one by one; of more, the folders. Airflow's hook lineage stops there, too.
MOST = 100


@define
class SegmindRequestRunFacet(RunFacet):
    """
    The request of a task, or the numbers of a batch.

    Cost and balance in credits, times in seconds. ``parameters`` holds no pictures, logins or signatures.
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
    """One stored object; ``inputs`` tells which of a batch's inputs it was made of."""

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


def lineage_of(made: TaskLineage) -> OperatorLineage[Any, Any]:
    """Return what OpenLineage's listener asks for."""
    metrics = made.metrics
    request = SegmindRequestRunFacet(
        model=made.model,
        requestId=made.request_id,
        parameters=dict(made.parameters),
        cost=metrics.get("cost"),
        remainingCredits=metrics.get("remaining_credits"),
        inferenceTime=metrics.get("inference_time"),
        queueTime=metrics.get("queue_time"),
        totalTime=metrics.get("total_time"),
        skipped=made.skipped,
        batch=None if made.batch is None else dict(made.batch),
    )
    return OperatorLineage(
        inputs=[InputDataset(*dataset_name(uri)) for uri in _named(made.inputs)],
        outputs=_outputs(made),
        run_facets={"segmind_request": request},
    )


def _named(uris: list[str]) -> list[str]:
    """Return the URIs, or the folders in which they lie where they are too many."""
    found = list(dict.fromkeys(canonical_uri(uri) for uri in uris))
    if len(found) > MOST:
        found = list(dict.fromkeys(uri.rpartition("/")[0] + "/" for uri in found))[:MOST]
    return found


def _outputs(made: TaskLineage) -> list[OutputDataset]:
    if len(made.images) <= MOST:
        return [_image(found) for found in made.images] or [
            OutputDataset(*dataset_name(uri)) for uri in _named(made.elsewhere)
        ]
    sizes: dict[str, list[int]] = {}
    for found in made.images:
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
        facets={"segmind_picture": facet},
        outputFacets={"outputStatistics": _statistics(found["bytes"])},
    )


def _statistics(*sizes: int) -> OutputStatisticsOutputDatasetFacet:
    return OutputStatisticsOutputDatasetFacet(size=sum(sizes), fileCount=len(sizes))
