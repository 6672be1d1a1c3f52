"""SegmindBatchOperator: a thousand pictures in one task, in waves, with a manifest of what became of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_segmind import telemetry
from airflow_provider_segmind.compat import known_arguments, retry_policy_of
from airflow_provider_segmind.execution.batch import BatchRules, BatchRun, Deferred
from airflow_provider_segmind.execution.folder import FolderStorage, StorageFolder
from airflow_provider_segmind.execution.gateway import SegmindModel
from airflow_provider_segmind.execution.items import batch_lineage, wants_of
from airflow_provider_segmind.execution.manifest import BatchFolder
from airflow_provider_segmind.execution.waves import BatchEvent, Limits, read_batch_event
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.lineage import EmitsLineage, check_count, check_outlets
from airflow_provider_segmind.links.segmind import SegmindModelLink, SegmindStoredLink
from airflow_provider_segmind.operators.common import (
    check_numbers,
    check_on_lost_submit,
    check_uris,
    deferral_timeout,
    instance_of,
    is_final,
    is_working,
    not_before,
    permanent_errors_fail,
    takes_our_retry_policy,
)
from airflow_provider_segmind.operators.engine import engine_of
from airflow_provider_segmind.protocol.models import check_known
from airflow_provider_segmind.retry_policy import SegmindRetryPolicy
from airflow_provider_segmind.storage.limits import MAX_BYTES
from airflow_provider_segmind.storage.names import check_placeholders

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_segmind.execution.engine import Engine
    from airflow_provider_segmind.execution.instance import Instance
    from airflow_provider_segmind.execution.want import Want


class SegmindBatchOperator(EmitsLineage, BaseOperator):
    """
    Run one model over many inputs in one task instance and one trigger.

    Requests are submitted in waves; between them the task is deferred and holds no worker. Every request is in the
    ledger as soon as it is known, and what became of each item stands in a manifest (JSON Lines) beside the
    outputs: ``<task id>.manifest.jsonl``, a :class:`~airflow_provider_segmind.execution.record.RequestRecord` a line.
    A retry, a clear or another run with the same destination does only what is missing: what is delivered is left
    alone, what runs or is paid for is fetched, what failed (which was free) is submitted again. Rows are identified by
    model, parameters and gateway, without the signatures of URLs, and every manifest in the folder is read: items may
    be reordered or signed again, and the task may be renamed. Items with the same parameters are one request. Outputs
    are named ``<stem>-<first 8 characters of the key>``.

    Returns a JSON object (XCom) of under 4 KB: ``model``, ``manifest`` (URI), ``total``, ``stored``, ``reused`` (of
    them, those that were there already), ``failed``, ``errors`` (how often each class), ``metrics`` (``cost`` of
    this run and ``remaining_credits`` in credits), ``seconds``.

    What concerns all items (a refused key, missing credits, an unknown model) ends the submits: what is open is
    waited for and stored, and then the task fails with that error. One run at a time works on a manifest: its claim,
    ``<task id>.claim``, names its owner and its end, is removed on every exit but a deferral, and does not count when
    Airflow reports that its owner has ended. One that was not removed makes the next run ask the request history.

    :param model: slug of the model. (templated)
    :param items: the pictures: each a dict of the model's parameters, or just the URL of its image. (templated)
    :param parameters: parameters that all items share; an item's own win. (templated)
    :param destination: URI of the folder for outputs and manifest, in any storage that ``ObjectStoragePath`` knows;
        ``{model}`` in it is the slug. (templated)
    :param destination_conn_id: Airflow connection of that storage. (templated)
    :param requests_per_minute: submit no more than this in any minute (default: no limit of ours; Segmind's is then
        met, and waited out).
    :param max_in_flight: requests that may be submitted and not yet finished (default 100).
    :param max_failures: so many pictures may fail, and the task still succeeds (default 0). The manifest names them.
    :param segmind_conn_id: Airflow connection; None for the key in ``SEGMIND_API_KEY``. (templated)
    :param max_bytes: refuse to store a larger output (bytes; default 2 GiB).
    :param timeout: seconds for each request, from its submit (default 600, the vendor's advice).
    :param poll_interval: seconds between two polls of one request; default: by what is known of the model.
    :param expected_duration: seconds that a request is expected to take (default: what the model's page states).
    :param durable: keep the records of open requests in Airflow's task state store (default True), see
        :class:`.SegmindRunModelOperator`. What is delivered is kept in the manifest only.
    :param on_lost_submit: what to do with a submit whose response was lost, where the request history neither shows it
        nor proves that it was never accepted: ``fail`` that item (default: the next try searches again) or
        ``resubmit``.
    :param lost_submit_wait: seconds for which the history is searched for it in each try (default 30).
    :param min_remaining_credits: submit no wave while the balance is below this; default: the connection's, if any.
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

    def __init__(
        self,
        *,
        model: str,
        items: Sequence[Mapping[str, Any] | str] | Any,
        destination: str,
        parameters: Mapping[str, Any] | None = None,
        destination_conn_id: str | None = None,
        requests_per_minute: int | None = None,
        max_in_flight: int = 100,
        max_failures: int = 0,
        segmind_conn_id: str | None = SegmindHook.default_conn_name,
        max_bytes: int = MAX_BYTES,
        timeout: float = 600.0,
        poll_interval: float | None = None,
        expected_duration: float | None = None,
        durable: bool = True,
        on_lost_submit: Literal["fail", "resubmit"] = "fail",
        lost_submit_wait: float = 30.0,
        min_remaining_credits: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**known_arguments(kwargs))
        if takes_our_retry_policy(kwargs):
            self.retry_policy = SegmindRetryPolicy()
        self.model = model
        self.items = items
        self.parameters = parameters
        self.destination = destination
        self.destination_conn_id = destination_conn_id
        self.requests_per_minute = requests_per_minute
        self.max_in_flight = max_in_flight
        self.max_failures = max_failures
        self.segmind_conn_id = segmind_conn_id
        self.max_bytes = max_bytes
        self.timeout = timeout
        self.poll_interval = poll_interval
        self.expected_duration = expected_duration
        self.durable = durable
        self.on_lost_submit = on_lost_submit
        self.lost_submit_wait = lost_submit_wait
        self.min_remaining_credits = min_remaining_credits
        self.stored_uri: str | None = None
        self._check_plain_arguments()

    def _check_plain_arguments(self) -> None:
        check_numbers(
            positive={
                "requests_per_minute": self.requests_per_minute,
                "max_in_flight": self.max_in_flight,
                "timeout": self.timeout,
                "max_bytes": self.max_bytes,
                "poll_interval": self.poll_interval,
                "expected_duration": self.expected_duration,
            },
            not_negative={
                "max_failures": self.max_failures,
                "lost_submit_wait": self.lost_submit_wait,
                "min_remaining_credits": self.min_remaining_credits,
            },
            whole=("requests_per_minute", "max_in_flight", "max_bytes", "max_failures"),
            optional=("requests_per_minute", "poll_interval", "expected_duration", "min_remaining_credits"),
        )
        check_on_lost_submit(self.on_lost_submit)
        check_outlets(self.outlets, stores=True)
        check_uris(destination=self.destination)
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
            return self._go_on(context, None)

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Take over from the trigger: store what has ended, submit the next wave, defer again."""
        with permanent_errors_fail(retry_policy_of(self)), closing(self.hook):
            return self._go_on(context, read_batch_event(event))

    def _go_on(self, context: Context, event: BatchEvent | None) -> dict[str, Any]:
        wants = wants_of(self.model, self.items, self.parameters or {}, gateway=self.hook.settings.gateway)
        instance = instance_of(context)
        files = StorageFolder(self.destination, conn_id=self.destination_conn_id, model=self.model)
        folder = BatchFolder(files, instance, lambda owner: is_working(context, owner))
        self.stored_uri = folder.manifest
        run = BatchRun(
            self._engine(context),
            folder,
            FolderStorage(files, self.hook, {want.record.key: want for want in wants}, self.max_bytes),
            self._rules(context, instance, wants),
            wants,
        )
        found = run.run(event)
        if isinstance(found, Deferred):
            self._defer(found, inline=any(want.body.get("base64") is True for want in wants))
        return found

    def _engine(self, context: Context) -> Engine:
        return engine_of(
            context,
            SegmindModel(self.hook, self.model, min_remaining_credits=self.min_remaining_credits),
            durable=self.durable,
            on_lost_submit=self.on_lost_submit,
            lost_submit_wait=self.lost_submit_wait,
            completed=lambda want, result: telemetry.completed(
                result, one_of_many=True, submitted_at=want.record.submitted_at
            ),
            batch=True,
        )

    def _rules(self, context: Context, instance: Instance, wants: Sequence[Want]) -> BatchRules:
        def closing(value: dict[str, Any]) -> None:
            self.emit(context, self.hook, batch_lineage(value, wants, self.parameters, owner=instance.owner))

        return BatchRules(
            model=self.model,
            owner=instance.owner,
            limits=Limits(self.requests_per_minute, self.max_in_flight),
            timeout=self.timeout,
            max_failures=self.max_failures,
            execution_timeout=self.execution_timeout.total_seconds() if self.execution_timeout else None,
            check_number=lambda number: check_count(self.outlets, number),
            closing=closing,
        )

    def _defer(self, found: Deferred, *, inline: bool) -> NoReturn:
        from airflow_provider_segmind.triggers.batch import SegmindBatchTrigger

        self.defer(
            trigger=SegmindBatchTrigger(
                waited=[request.model_dump(mode="json", exclude_none=True) for request in found.waited],
                segmind_conn_id=self.segmind_conn_id,
                model=self.model,
                timeout=self.timeout,
                need=found.need,
                resume_at=found.resume_at,
                not_before=not_before(),
                poll_interval=self.poll_interval,
                expected_duration=self.expected_duration,
                inline=inline,
                memory=found.memory.model_dump(mode="json"),
            ),
            method_name="execute_complete",
            timeout=deferral_timeout(found.deadline),
        )
