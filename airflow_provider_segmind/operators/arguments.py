"""The arguments of SegmindRunModelOperator: what it takes, and what it refuses before a DAG is even imported."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from airflow.providers.common.compat.sdk import BaseOperator, BaseOperatorLink, conf

from airflow_provider_segmind.compat import known_arguments
from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.execution.options import NEVER_FOUND, NOT_GIVEN, IfExists
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.lineage import EmitsLineage, TaskLineage, check_outlets, task_lineage
from airflow_provider_segmind.links.pages import written_by_tasks
from airflow_provider_segmind.links.segmind import BEFORE_THE_OUTPUT, SegmindOutputLink, SegmindStoredLink
from airflow_provider_segmind.operators.common import (
    check_inline_output,
    check_numbers,
    check_on_lost_submit,
    check_uris,
    claim_target,
    instance_of,
    is_final,
    serves_previews,
    takes_our_retry_policy,
)
from airflow_provider_segmind.protocol.data_uris import decode_base64
from airflow_provider_segmind.protocol.models import check_known, request_body
from airflow_provider_segmind.protocol.redaction import redacted
from airflow_provider_segmind.protocol.urls import is_url
from airflow_provider_segmind.retry_policy import SegmindRetryPolicy
from airflow_provider_segmind.storage.limits import MAX_BYTES
from airflow_provider_segmind.storage.names import check_placeholders, placeholders

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_segmind.execution.destination import Destination


class ModelArguments(EmitsLineage, BaseOperator):
    """
    Takes and checks the arguments; what they mean is told by SegmindRunModelOperator, which runs on them.

    Constructors only assign, and validate what is a literal already: templates and XComArgs are validated once
    they are rendered.
    """

    template_fields: Sequence[str] = (
        "model",
        "parameters",
        "destination",
        "destination_conn_id",
        "segmind_conn_id",
    )
    template_fields_renderers = {"parameters": "json"}
    operator_extra_links: Collection[BaseOperatorLink] = (
        *BEFORE_THE_OUTPUT,
        SegmindOutputLink(),
        SegmindStoredLink(),
    )
    ui_color = "#eee7ff"
    #: The slug is that of a PixelFlow workflow, not of a model.
    runs_workflow: ClassVar[bool] = False

    def __init__(
        self,
        *,
        model: str,
        parameters: Mapping[str, Any] | str | None = None,
        destination: str | None = NOT_GIVEN,
        destination_conn_id: str | None = None,
        max_bytes: int = MAX_BYTES,
        if_exists: IfExists = "overwrite",
        skip_existing: bool = False,
        sidecar: bool = False,
        segmind_conn_id: str | None = SegmindHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        wait_for_completion: bool = True,
        poll_interval: float | None = None,
        expected_duration: float | None = None,
        timeout: float = 600.0,
        queue_timeout: float | None = None,
        defer_after: float = 0.0,
        end_from_trigger: bool = False,
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
        self.parameters = parameters
        self.destination = None if destination is NOT_GIVEN else destination
        self.destination_conn_id = destination_conn_id
        self.max_bytes = max_bytes
        self.if_exists = if_exists
        self.skip_existing = skip_existing
        self.sidecar = sidecar
        self.segmind_conn_id = segmind_conn_id
        self.deferrable = deferrable
        self.wait_for_completion = wait_for_completion
        self.poll_interval = poll_interval
        self.expected_duration = expected_duration
        self.timeout = timeout
        self.queue_timeout = queue_timeout
        self.defer_after = defer_after
        self.end_from_trigger = end_from_trigger
        self.durable = durable
        self.on_lost_submit = on_lost_submit
        self.lost_submit_wait = lost_submit_wait
        self.min_remaining_credits = min_remaining_credits
        self.request_id: str | None = None
        self.output_link: str | None = None
        self.stored_uri: str | None = None
        self.operator_extra_links = written_by_tasks(self)
        self._check_plain_arguments()
        check_uris(destination=self.destination)
        self._stores = self.destination is not None  # a template may render to None, which must not mean "nowhere"
        self._given_none = destination is None
        self._check_destination()
        self._check_early()

    @cached_property
    def hook(self) -> SegmindHook:
        """The hook of this task's connection."""
        return SegmindHook(self.segmind_conn_id)

    # --- checks ---------------------------------------------------------------------------------------------

    def _check_plain_arguments(self) -> None:
        check_numbers(
            positive={
                "timeout": self.timeout,
                "max_bytes": self.max_bytes,
                "poll_interval": self.poll_interval,
                "expected_duration": self.expected_duration,
                "queue_timeout": self.queue_timeout,
            },
            not_negative={
                "defer_after": self.defer_after,
                "lost_submit_wait": self.lost_submit_wait,
                "min_remaining_credits": self.min_remaining_credits,
            },
            whole=("max_bytes",),
            optional=("poll_interval", "expected_duration", "queue_timeout", "min_remaining_credits"),
        )
        check_on_lost_submit(self.on_lost_submit)
        if self.destination is not None and not self.wait_for_completion:
            raise SegmindConfigError(
                "wait_for_completion=False has no output to put into a destination; store it in the task that waits"
            )
        if self.end_from_trigger:
            self._check_end_from_trigger()

    def _check_destination(self) -> None:
        check_outlets(self.outlets, stores=self.destination is not None)
        if self.outlets and not self.wait_for_completion:
            raise SegmindConfigError(
                "wait_for_completion=False ends before there is a picture: give the outlets to the task that stores it"
            )
        if self.if_exists not in get_args(IfExists):
            raise SegmindConfigError(f"if_exists must be overwrite, skip or fail, not {self.if_exists!r}")
        if self.skip_existing and self.if_exists == "fail":
            raise SegmindConfigError("skip_existing=True and if_exists='fail' contradict each other")
        if self.destination is None:
            if self.sidecar or self._on_existing != "overwrite":
                raise SegmindConfigError("sidecar, skip_existing and if_exists need a destination")
        elif is_final(self.destination):
            check_placeholders(self.destination)
            if self._on_existing == "skip" and "request_id" in placeholders(self.destination):
                raise SegmindConfigError(NEVER_FOUND)

    @property
    def _on_existing(self) -> IfExists:
        return "skip" if self.skip_existing else self.if_exists

    @property
    def _keeps_sidecar(self) -> bool:
        return self.sidecar or self._on_existing == "skip"

    def _check_end_from_trigger(self) -> None:
        """Refuse what needs a worker after the wait, and would be missing without a word."""
        if not self.deferrable or not self.wait_for_completion:
            raise SegmindConfigError("end_from_trigger=True needs deferrable=True and wait_for_completion=True")
        if self.destination is not None:
            raise SegmindConfigError(
                "end_from_trigger=True stores nothing: leave destination out and store in a task of its own"
            )
        if self.outlets:
            raise SegmindConfigError("end_from_trigger=True emits no asset events: leave outlets out")

    def _check_early(self) -> None:
        """Check what is a literal already, so that a mistake breaks the import of the DAG and not a run at night."""
        if not is_final(self.model):
            return
        parameters = self._named_parameters()
        if not isinstance(parameters, Mapping):
            if is_final(parameters):
                raise SegmindConfigError(f"parameters must be a dict, not {type(parameters).__name__}")
            return
        pending = {name for name, value in parameters.items() if not is_final(value)} | self._pending_names()
        if not self.runs_workflow:
            check_known(self.model, parameters, pending=pending)
        check_inline_output(parameters, goes_somewhere=self._has_place)

    @property
    def _has_place(self) -> bool:
        return self.destination is not None or not self.wait_for_completion

    def _named_parameters(self) -> Any:
        """Return the model's parameters as they are now, rendered or not."""
        return {} if self.parameters is None else self.parameters

    def _pending_names(self) -> set[str]:
        """Return the names of parameters that exist only at run time."""
        return set()

    # --- what they mean ---------------------------------------------------------------------------------------

    def _source(self) -> str | None:
        """Return the input's address, or the picture itself as base64; None where there is none."""
        source = self._named_parameters().get("image")
        return source if isinstance(source, str) else None

    def _input_path(self) -> ObjectStoragePath | None:
        """Return the path of an input that is read from storage."""
        return None

    def _read_input(self) -> bytes | None:
        """Return the input's bytes for its preview: where it is given as text. What a URL names is not fetched."""
        source = self._source()
        return None if source is None or is_url(source) else decode_base64(source)

    def _body(self) -> dict[str, Any]:
        """Return the checked parameters, without the picture where that is still to be read."""
        return request_body(self.model, self._named_parameters(), workflow=self.runs_workflow)

    def task_lineage(self, value: Mapping[str, Any]) -> TaskLineage:
        """Return what the task made, as lineage tells it."""
        try:
            parameters = self._body()
        except SegmindConfigError:  # why the task failed, perhaps
            parameters = {}
        return task_lineage(value, parameters, inputs=[self._source()])

    def _delivery(
        self, context: Context, note: Mapping[str, Any], input_size: tuple[int, int] | None
    ) -> Destination | None:
        """Return the way to the destination, if there is one; ``note`` is what was noted when the input was read."""
        if self.destination is None:
            return None
        from airflow_provider_segmind.execution.destination import Destination

        return Destination(
            hook=self.hook,
            instance=instance_of(context),
            destination=self.destination,
            conn_id=self.destination_conn_id,
            model=self.model,
            source=self._source(),
            max_bytes=self.max_bytes,
            claim=lambda target: claim_target(context, target),
            if_exists=self._on_existing,
            sidecar=self._keeps_sidecar,
            serves_previews=serves_previews(),
            read_input=self._read_input,
            note=note,
            parameters=redacted(self._body()) if self._keeps_sidecar else {},
            at_least=input_size,
        )
