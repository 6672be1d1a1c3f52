"""SegmindToObjectStorageOperator: store the output of an earlier task."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator, BaseOperatorLink

from airflow_provider_segmind.compat import retry_policy_of
from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.execution.options import StorageOptions, Uri, assign, is_final, naming
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.lineage import TaskLineage, check_outlets, emit, openlineage_facets, task_lineage
from airflow_provider_segmind.links.pages import SegmindPageLink, SegmindTabLink, written_by_tasks
from airflow_provider_segmind.links.segmind import SegmindOutputLink, SegmindStoredLink
from airflow_provider_segmind.runtime.failures import permanent_errors_fail
from airflow_provider_segmind.storage.limits import Verify

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, XComArg
    from airflow.providers.openlineage.extractors import OperatorLineage


class SegmindToObjectStorageOperator(BaseOperator):
    """
    Stream the output of a finished request into any object storage, verified, and whole or not at all.

    Running it again writes the same bytes again, or leaves an identical object alone; nothing is billed.

    Returns the result with ``stored`` (``[{uri, bytes, sha256, content_type, width, height}]``) added.

    Give either ``result`` or ``request_id``. Further arguments: those of the signature that :class:`.StorageOptions`
    describes, and those of every task.

    :param result: what an upscaling task, or the sensor, returned (its XCom). (templated)
    :param request_id: a request that is COMPLETED: its result is fetched, or searched in the request history once its
        record has expired (one hour after its submit). (templated)
    :param model: with ``request_id``: slug of its model; an upscaler's output must be an image. (templated)
    :param destination: URI of an object, or of a folder (ends with ``/``): then the object gets a name from this
        task's id and map index, with the extension of the actual content type. ``{model}``, ``{stem}`` (of the
        output's own name), ``{request_id}``, ``{map_index}`` and ``{ext}`` are filled in. Two mapped tasks with the
        same target: the second one fails before it writes. (templated)
    :param destination_conn_id: Airflow connection of the storage. (templated)
    :param verify: ``whole`` (default) or ``off``; ``same`` is refused, because a transfer does not have the input.
    :param segmind_conn_id: Airflow connection (default ``segmind_default``); None for the key in ``SEGMIND_API_KEY``.
        (templated)
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

    result: Any
    request_id: Any
    verify: Verify | None
    destination: Any
    model: str
    segmind_conn_id: str | None
    output_link: str | None = None
    stored_uri: str | None = None
    _lineage: TaskLineage | None = None

    def __init__(
        self,
        *,
        destination: str,
        result: Mapping[str, Any] | XComArg | None = None,
        request_id: str | XComArg | None = None,
        model: str = "",
        destination_conn_id: str | None = None,
        max_bytes: int = StorageOptions.max_bytes,
        verify: Verify | None = None,
        segmind_conn_id: str | None = SegmindHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        assign(self, locals())
        self.operator_extra_links = written_by_tasks(self)
        with naming(self.task_id):
            self._validate()

    def _validate(self) -> None:
        """Validate the literals among the arguments, so that a mistake breaks the import of the DAG."""
        if (self.result is None) == (self.request_id is None):
            raise SegmindConfigError("give exactly one of result= and request_id=")
        storage = StorageOptions.of(self)
        if self.verify == "same":
            raise SegmindConfigError("verify: 'same' needs the input, which a transfer does not have: use whole or off")
        Uri().validate("destination", self.destination)
        check_outlets(self.outlets, stores=True)
        if is_final(self.destination):
            storage.validate_placeholders()

    def execute(self, context: Context) -> dict[str, Any]:
        """Store every output of the result."""
        from airflow_provider_segmind.execution.transfer import fetch_result, read_result, store
        from airflow_provider_segmind.runtime.task import environment_of

        with permanent_errors_fail(retry_policy_of(self)), SegmindHook(self.segmind_conn_id) as hook:
            if self.request_id is None:
                result = read_result(self.result)
            else:
                result = fetch_result(hook, str(self.request_id), self.model)
            value = store(result, StorageOptions.of(self), environment_of(self, hook, context))
            self.output_link, self.stored_uri = value.get("output"), value["stored"][0]["uri"]
            self._lineage = self._lineage_of(value)
            emit(context, hook, self.outlets, self._lineage)
            return value

    def _lineage_of(self, value: Mapping[str, Any]) -> TaskLineage:
        """Return what the task made: an object, from the output that was at Segmind."""
        outputs = [file["url"] for file in value.get("outputs") or ()]
        return task_lineage(value, {}, inputs=outputs or [value.get("output")])

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return inputs, outputs and the request, for OpenLineage's listener; called after a failure, too."""
        known = {"model": self.model, "request_id": self.request_id}
        return openlineage_facets(self._lineage or self._lineage_of(known))
