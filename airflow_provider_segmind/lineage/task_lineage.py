"""What a task made of what, as all three kinds of lineage tell it. Plain data, of what is known after a deferral."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_segmind.lineage.addresses import urls_in
from airflow_provider_segmind.protocol.redaction import redacted
from airflow_provider_segmind.protocol.urls import canonical_uri

#: Fields of a manifest that are an object's own, not its request's.
_OWN = ("uri", "bytes", "sha256", "content_type", "width", "height", "name")


@dataclass(frozen=True)
class TaskLineage:
    """
    What became of one task instance.

    :param model: the slug.
    :param request_id: of its request; None for a batch, and where there was none.
    :param parameters: presentable ones.
    :param metrics: as in the XCom of an upscaling task.
    :param inputs: URIs of what it was made of.
    :param pictures: the manifests of the objects in storage.
    :param elsewhere: URLs of the outputs, where none was stored.
    :param skipped: everything was there already, and nothing was made.
    :param batch: the numbers of a batch, and its manifest's URI.
    """

    model: str = ""
    request_id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    skipped: bool = False
    batch: Mapping[str, Any] | None = None

    def summary(self) -> dict[str, Any]:
        """Return what one event says of everything that was made."""
        if self.batch is not None:
            about = {"parameters": dict(self.parameters), "cost": self.metrics.get("cost")}
            return {"model": self.model, **about, "batch": dict(self.batch)}
        if len(self.images) == 1:
            found = self.images[0]
        else:
            found = manifest({}, self.model, self.request_id, self.metrics.get("cost"), self.inputs, self.parameters)
            if self.images:
                found["stored"] = [
                    {name: item[name] for name in _OWN if name in item and item[name] is not None}
                    for item in self.images
                ]
        return {**found, "skipped": True} if self.skipped else found


def manifest(
    stored: Mapping[str, Any],
    model: str,
    request_id: str | None,
    cost: float | None,
    inputs: list[str],
    parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """
    Return what is told of one object.

    :param stored: as in the XCom of an upscaling task.
    :param model: the slug.
    :param request_id: of the request that made it.
    :param cost: of that request, in credits.
    :param inputs: URIs of what it was made of.
    :param parameters: presentable ones.
    """
    about = {"model": model, "request_id": request_id, "cost": cost, "inputs": inputs, "parameters": dict(parameters)}
    return {**stored, **about}


def task_lineage(
    value: Mapping[str, Any], parameters: Mapping[str, Any], inputs: Iterable[str | None] = ()
) -> TaskLineage:
    """
    Return what a task made that had one request.

    :param value: what it hands on (its XCom).
    :param parameters: as they are sent; pictures and signatures in them are replaced.
    :param inputs: URIs of further inputs than the URLs among the parameters; None for none.
    """
    model, request_id = str(value.get("model") or ""), value.get("request_id")
    shown, metrics = redacted(parameters), value.get("metrics") or {}
    found = list(
        dict.fromkeys([*(canonical_uri(uri) for uri in inputs if uri and "://" in uri[:32]), *urls_in(parameters)])
    )
    images = [
        manifest(item, model, request_id, metrics.get("cost"), found, shown) for item in value.get("stored") or ()
    ]
    urls = [file.get("url") for file in value.get("outputs") or ()] or [value.get("output")]
    return TaskLineage(
        model=model,
        request_id=request_id,
        parameters=shown,
        metrics=metrics,
        inputs=found,
        images=images,
        elsewhere=[] if images else [canonical_uri(url) for url in urls if url],
        skipped=bool(value.get("skipped")),
    )
