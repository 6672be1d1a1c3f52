"""
The lineage of a task as plain data: asset events, hook lineage and OpenLineage are all made from it.

It is built from the task's result and its rendered arguments, because nothing else survives a deferral.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_segmind.lineage.addresses import urls_in
from airflow_provider_segmind.protocol.redaction import redacted
from airflow_provider_segmind.protocol.urls import canonical_uri

#: Details that belong to the object itself, not to its request.
_OBJECT_FIELDS = ("uri", "bytes", "sha256", "content_type", "width", "height", "name", "similarity", "metadata")


@dataclass(frozen=True)
class TaskLineage:
    """
    The inputs, outputs and request of one task instance.

    :param model: the slug.
    :param request_id: of its request; None for a batch, and if there was no request.
    :param parameters: of its request, redacted.
    :param metrics: as in the XCom of an upscaling task.
    :param inputs: URIs of the inputs.
    :param images: the details of each stored object, see :func:`object_details`.
    :param output_urls: URLs of the outputs, if none was stored.
    :param skipped: everything was stored already, and nothing was submitted.
    :param batch: the numbers of a batch and the URI of its manifest; None for a single request.
    """

    model: str = ""
    request_id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    output_urls: list[str] = field(default_factory=list)
    skipped: bool = False
    batch: Mapping[str, Any] | None = None

    def summary(self) -> dict[str, Any]:
        """Return the ``extra`` of one asset event for all outputs."""
        if self.batch is not None:
            about = {"parameters": dict(self.parameters), "cost": self.metrics.get("cost")}
            return {"model": self.model, **about, "batch": dict(self.batch)}
        if len(self.images) == 1:
            found = self.images[0]
        else:
            found = object_details(
                {}, self.model, self.request_id, self.metrics.get("cost"), self.inputs, self.parameters
            )
            if self.images:
                found["stored"] = [
                    {name: item[name] for name in _OBJECT_FIELDS if name in item and item[name] is not None}
                    for item in self.images
                ]
        return {**found, "skipped": True} if self.skipped else found


def object_details(
    stored: Mapping[str, Any],
    model: str,
    request_id: str | None,
    cost: float | None,
    inputs: list[str],
    parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """
    Return the details of one stored object: of the object and of the request that made it.

    :param stored: as in the XCom of an upscaling task.
    :param model: the slug.
    :param request_id: of the request that made it.
    :param cost: of that request, in USD.
    :param inputs: URIs of its inputs.
    :param parameters: of that request, redacted.
    """
    about = {"model": model, "request_id": request_id, "cost": cost, "inputs": inputs, "parameters": dict(parameters)}
    return {**stored, **about}


def task_lineage(
    value: Mapping[str, Any], parameters: Mapping[str, Any], inputs: Iterable[str | None] = ()
) -> TaskLineage:
    """
    Return the lineage of a task with one request.

    :param value: the result of the task (its XCom).
    :param parameters: as they are sent; images and signatures in them are redacted.
    :param inputs: URIs of inputs besides the URLs among the parameters; None and base64 are ignored.
    """
    model, request_id = str(value.get("model") or ""), value.get("request_id")
    shown, metrics = redacted(parameters), value.get("metrics") or {}
    found = list(
        dict.fromkeys([*(canonical_uri(uri) for uri in inputs if uri and "://" in uri[:32]), *urls_in(parameters)])
    )
    images = [
        object_details(item, model, request_id, metrics.get("cost"), found, shown) for item in value.get("stored") or ()
    ]
    urls = [file.get("url") for file in value.get("outputs") or ()] or [value.get("output")]
    return TaskLineage(
        model=model,
        request_id=request_id,
        parameters=shown,
        metrics=metrics,
        inputs=found,
        images=images,
        output_urls=[] if images else [canonical_uri(url) for url in urls if url],
        skipped=bool(value.get("skipped")),
    )
