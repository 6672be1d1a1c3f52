"""SegmindBatchOperator: a thousand images in one task, in waves, with a manifest of what became of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_segmind.compat import known_arguments, retry_policy_of
from airflow_provider_segmind.execution.arguments import check_compared
from airflow_provider_segmind.execution.options import (
    BatchOptions,
    OnLostSubmit,
    StorageOptions,
    SubmitOptions,
    Uri,
    WaitOptions,
    assign,
    is_final,
    naming,
)
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.lineage import TaskLineage, check_count, check_outlets, emit, openlineage_facets
from airflow_provider_segmind.links.segmind import SegmindModelLink, SegmindStoredLink
from airflow_provider_segmind.protocol.models import check_known
from airflow_provider_segmind.runtime.deferral import deferral_timeout, not_before
from airflow_provider_segmind.runtime.failures import permanent_errors_fail
from airflow_provider_segmind.runtime.retries import default_retry_policy
from airflow_provider_segmind.storage.limits import KeepMetadata, Verify
from airflow_provider_segmind.storage.names import check_placeholders

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_segmind.execution.batch import Deferred
    from airflow_provider_segmind.execution.batch_task import BatchTask
    from airflow_provider_segmind.execution.waves import BatchEvent


class SegmindBatchOperator(BaseOperator):
    """
    Run one model over many inputs in one task instance and one trigger.

    Requests are submitted in waves; between them the task is deferred and holds no worker. Every request is in the
    ledger as soon as it is known, and what became of each item is in a manifest (JSON Lines) beside the outputs:
    ``<task id>.manifest.jsonl``, a :class:`~airflow_provider_segmind.execution.record.RequestRecord` a line. A retry, a
    clear or another run with the same destination does only what is missing: what is delivered is left alone, what runs
    or is paid for is fetched, what failed (which was free) is submitted again. Rows are identified by model, parameters
    and gateway, without the signatures of URLs, and every manifest in the folder is read: items may be reordered or
    signed again, and the task may be renamed. Items with the same parameters are one request. Outputs are named
    ``<stem>-<first 8 characters of the key>``; where two names would be alike in a store, with the whole key.

    Returns a JSON object (XCom) of under 4 KB: ``model``, ``manifest`` (URI), ``total``, ``stored``, ``reused`` (those
    of them that existed before), ``failed``, ``errors`` (how often each class), ``metrics`` (``cost`` of this run in
    USD, ``remaining_credits`` in credits), ``seconds``.

    An error that concerns all items (a refused key, missing credits, an unknown model) ends the submits: open requests
    are waited for and stored, and then the task fails with that error. One run at a time works on a manifest: its
    claim, ``<task id>.claim``, names its owner and its end, is removed on every exit but a deferral, and does not count
    when Airflow reports that its owner has ended. A claim that was not removed makes the next run search the history.

    Further arguments: those of the signature that :class:`.StorageOptions`, :class:`.WaitOptions`,
    :class:`.SubmitOptions` and :class:`.BatchOptions` describe, and those of every task.

    :param model: slug of the model. (templated)
    :param items: the images: each a dict of the model's parameters, or the URL of its image. (templated)
    :param parameters: parameters of all items; an item's own take precedence. (templated)
    :param destination: URI of the folder for outputs and manifest, in any storage that ``ObjectStoragePath`` knows;
        ``{model}`` in it is the slug. (templated)
    :param destination_conn_id: Airflow connection of that storage. (templated)
    :param timeout: seconds for each request, from its submit (default 600, the vendor's advice).
    :param segmind_conn_id: Airflow connection (default ``segmind_default``); None for the key in ``SEGMIND_API_KEY``.
        (templated)
    """

    template_fields: Sequence[str] = (
        "model",
        "items",
        "parameters",
        "destination",
        "destination_conn_id",
        "segmind_conn_id",
    )
    template_fields_renderers = {"items": "json", "parameters": "json"}
    operator_extra_links = (SegmindModelLink(), SegmindStoredLink())
    ui_color = "#eee7ff"

    model: str
    items: Any
    parameters: Mapping[str, Any] | None
    destination: Any
    segmind_conn_id: str | None
    stored_uri: str | None = None
    _lineage: TaskLineage | None = None

    def __init__(
        self,
        *,
        model: str,
        items: Sequence[Mapping[str, Any] | str] | Any,
        destination: str,
        parameters: Mapping[str, Any] | None = None,
        destination_conn_id: str | None = None,
        requests_per_minute: int | None = None,
        max_in_flight: int = BatchOptions.max_in_flight,
        max_failures: int = BatchOptions.max_failures,
        segmind_conn_id: str | None = SegmindHook.default_conn_name,
        max_bytes: int = StorageOptions.max_bytes,
        verify: Verify | None = None,
        keep_metadata: KeepMetadata = StorageOptions.keep_metadata,
        timeout: float = WaitOptions.timeout,
        poll_interval: float | None = None,
        expected_duration: float | None = None,
        durable: bool = True,
        on_lost_submit: OnLostSubmit = SubmitOptions.on_lost_submit,
        lost_submit_wait: float = SubmitOptions.lost_submit_wait,
        min_remaining_credits: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**known_arguments(kwargs))
        if policy := default_retry_policy(kwargs):
            self.retry_policy = policy
        assign(self, locals())
        with naming(self.task_id):
            self._validate()

    def _validate(self) -> None:
        """Validate the literals among the arguments, so that a mistake breaks the import of the DAG."""
        for options in (BatchOptions, WaitOptions, SubmitOptions):
            options.of(self)
        storage = StorageOptions.of(self)
        if is_final(self.model):
            check_compared(self.model, storage)
        Uri().validate("destination", self.destination)
        check_outlets(self.outlets, stores=True)
        if is_final(self.destination):
            check_placeholders(self.destination, ("model",))
        if is_final(self.model) and isinstance(self.parameters, Mapping) and is_final(self.parameters):
            check_known(self.model, self.parameters, pending={"image"})

    @cached_property
    def hook(self) -> SegmindHook:
        """The hook of this task's connection."""
        return SegmindHook(self.segmind_conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """Find out what is missing, submit a wave, and defer."""
        with permanent_errors_fail(retry_policy_of(self)), closing(self.hook):
            return self._run(context, None)

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Take over from the trigger: store what has ended, submit the next wave, defer again."""
        from airflow_provider_segmind.execution.waves import read_batch_event

        with permanent_errors_fail(retry_policy_of(self)), closing(self.hook):
            return self._run(context, read_batch_event(event))

    def _run(self, context: Context, event: BatchEvent | None) -> dict[str, Any]:
        from airflow_provider_segmind.execution.batch import Deferred

        task = self._task(context)
        try:
            found = task.run(event)
        finally:
            self.stored_uri = task.manifest
        if isinstance(found, Deferred):
            self._defer(found, inline=task.inline)
        return found

    def _task(self, context: Context) -> BatchTask:
        from airflow_provider_segmind.execution.batch_task import BatchArguments, BatchTask
        from airflow_provider_segmind.runtime.task import environment_of

        arguments = BatchArguments(
            model=self.model,
            items=self.items,
            parameters=self.parameters or {},
            batch=BatchOptions.of(self),
            wait=WaitOptions.of(self),
            submit=SubmitOptions.of(self),
            storage=StorageOptions.of(self),
        )

        def emit_lineage(lineage: TaskLineage) -> None:
            self._lineage = lineage
            emit(context, self.hook, self.outlets, lineage)

        return BatchTask(
            arguments,
            environment_of(self, self.hook, context),
            check_count=lambda number: check_count(self.outlets, number),
            emit=emit_lineage,
        )

    def _defer(self, found: Deferred, *, inline: bool) -> NoReturn:
        from airflow_provider_segmind.triggers.batch import SegmindBatchTrigger

        wait = WaitOptions.of(self)
        self.defer(
            trigger=SegmindBatchTrigger(
                waited=[request.model_dump(mode="json", exclude_none=True) for request in found.waited],
                segmind_conn_id=self.segmind_conn_id,
                model=self.model,
                timeout=wait.timeout,
                need=found.need,
                resume_at=found.resume_at,
                not_before=not_before(),
                poll_interval=wait.poll_interval,
                expected_duration=wait.expected_duration,
                inline=inline,
                memory=found.memory.model_dump(mode="json"),
            ),
            method_name="execute_complete",
            timeout=deferral_timeout(found.deadline),
        )

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return inputs and outputs of this run, for OpenLineage's listener; called after a failure, too."""
        return openlineage_facets(self._lineage or TaskLineage(model=self.model))
