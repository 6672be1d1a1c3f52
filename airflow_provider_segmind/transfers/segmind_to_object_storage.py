"""SegmindToObjectStorageOperator: put the output of an earlier task into storage."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator, BaseOperatorLink
from pydantic import ValidationError

from airflow_provider_segmind.compat import retry_policy_of
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindRequestExpiredError
from airflow_provider_segmind.execution.destination import Destination
from airflow_provider_segmind.execution.gateway import SegmindModel
from airflow_provider_segmind.execution.recover import recalled
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.lineage import EmitsLineage, TaskLineage, check_outlets, task_lineage
from airflow_provider_segmind.links.pages import SegmindPageLink, SegmindTabLink, written_by_tasks
from airflow_provider_segmind.links.segmind import SegmindOutputLink, SegmindStoredLink
from airflow_provider_segmind.operators.common import (
    check_numbers,
    claim_target,
    instance_of,
    is_final,
    permanent_errors_fail,
    serves_previews,
)
from airflow_provider_segmind.protocol.wire import Result
from airflow_provider_segmind.storage.limits import MAX_BYTES
from airflow_provider_segmind.storage.names import check_placeholders

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, XComArg


class SegmindToObjectStorageOperator(EmitsLineage, BaseOperator):
    """
    Stream the output of a finished request into any object storage, checked and whole or not at all.

    Re-running it writes the same bytes again, or leaves an identical object alone; nothing is billed.

    Returns the result with ``stored`` (``[{uri, bytes, sha256, content_type, width, height}]``) added.

    Give either ``result`` or ``request_id``.

    :param result: what an upscaling task, or the sensor, returned (its XCom). (templated)
    :param request_id: a request that is COMPLETED: its result is fetched, or looked up in the request history
        where its record is gone (one hour after its submit). (templated)
    :param model: with ``request_id``: slug of its model; an upscaler's output must be a picture. (templated)
    :param destination: URI of an object, or of a folder (ends with ``/``): then the object gets a name from this
        task's id and map index, with the extension of the actual content type. ``{model}``, ``{stem}`` (of the
        output's own name), ``{request_id}``, ``{map_index}`` and ``{ext}`` are filled in. Two mapped tasks with the
        same target: the second one fails before it writes. (templated)
    :param destination_conn_id: Airflow connection of the storage. (templated)
    :param max_bytes: refuse a larger output (bytes; default 2 GiB).
    :param segmind_conn_id: Airflow connection; None for the key in ``SEGMIND_API_KEY``. (templated)
    """

    template_fields: Sequence[str] = (
        "result",
        "request_id",
        "model",
        "destination",
        "destination_conn_id",
        "segmind_conn_id",
    )
    template_fields_renderers = {"result": "json"}
    operator_extra_links: Collection[BaseOperatorLink] = (
        SegmindTabLink(),
        SegmindPageLink(),
        SegmindOutputLink(),
        SegmindStoredLink(),
    )
    ui_color = "#eee7ff"

    def __init__(
        self,
        *,
        destination: str,
        result: Mapping[str, Any] | XComArg | None = None,
        request_id: str | XComArg | None = None,
        model: str = "",
        destination_conn_id: str | None = None,
        max_bytes: int = MAX_BYTES,
        segmind_conn_id: str | None = SegmindHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (result is None) == (request_id is None):
            raise SegmindConfigError("give either result= or request_id=, not both and not neither")
        self.result = result
        self.request_id = request_id
        self.model = model
        self.destination = destination
        self.destination_conn_id = destination_conn_id
        self.max_bytes = max_bytes
        self.segmind_conn_id = segmind_conn_id
        self.output_link: str | None = None
        self.stored_uri: str | None = None
        self.operator_extra_links = written_by_tasks(self)
        check_numbers(positive={"max_bytes": max_bytes}, not_negative={}, whole=("max_bytes",))
        check_outlets(self.outlets, stores=True)
        if is_final(destination):
            check_placeholders(destination)

    def execute(self, context: Context) -> dict[str, Any]:
        """Store every output of the result."""
        with permanent_errors_fail(retry_policy_of(self)), SegmindHook(self.segmind_conn_id) as hook:
            result = self._read_result() if self.request_id is None else self._fetch_result(hook, None)
            delivery = Destination(
                hook=hook,
                instance=instance_of(context),
                destination=self.destination,
                conn_id=self.destination_conn_id,
                model=result.model,
                source=result.output,
                max_bytes=self.max_bytes,
                claim=lambda target: claim_target(context, target),
                serves_previews=serves_previews(),
            )
            delivery.check()
            if not result.fetchable:
                result = self._fetch_result(hook, result)
            stored = delivery.store_one("", result)
            self.output_link, self.stored_uri = result.output, stored[0]["uri"]
            value = result.to_xcom() | {"stored": stored}
            self.emit(context, hook, self.task_lineage(value))
            return value

    def task_lineage(self, value: Mapping[str, Any]) -> TaskLineage:
        """Return what the task made, as lineage tells it: it is made of the output that lay at Segmind."""
        return task_lineage(
            value, {}, inputs=[file["url"] for file in value.get("outputs") or ()] or [value.get("output")]
        )

    def _fetch_result(self, hook: SegmindHook, known: Result | None) -> Result:
        """Fetch the result by its request id; what is past its hour may be in the history."""
        request_id, model = (str(self.request_id), self.model) if known is None else (known.request_id, known.model)
        segmind = SegmindModel(hook, model)
        try:
            return segmind.result(request_id)
        except SegmindRequestExpiredError as error:
            return recalled(segmind, error, model=model)

    def _read_result(self) -> Result:
        try:
            return Result.model_validate(self.result)
        except ValidationError as error:
            raise SegmindConfigError(
                f"result= must be what an upscaling task returned, not {self.result!r:.200} "
                f"({error.error_count()} faults)"
            ) from None
