"""What the operators with one request share: arguments in, :mod:`..execution.request_task` called, result out."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import BaseOperator, BaseOperatorLink

from airflow_provider_segmind.compat import known_arguments, retry_policy_of
from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.execution.arguments import RequestArguments
from airflow_provider_segmind.execution.options import (
    NOT_GIVEN,
    InputOptions,
    StorageOptions,
    SubmitOptions,
    WaitOptions,
    assign,
    naming,
)
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.lineage import check_outlets, emit, openlineage_facets, task_lineage
from airflow_provider_segmind.links.pages import written_by_tasks
from airflow_provider_segmind.links.segmind import BEFORE_THE_OUTPUT, SegmindOutputLink, SegmindStoredLink
from airflow_provider_segmind.runtime.deferral import deferral_timeout, not_before
from airflow_provider_segmind.runtime.failures import permanent_errors_fail
from airflow_provider_segmind.runtime.retries import default_retry_policy

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.providers.openlineage.extractors import OperatorLineage

    from airflow_provider_segmind.execution.request_task import (
        Finished,
        NextStep,
        RequestTask,
        WaitForRateLimit,
        WaitInTriggerer,
    )
    from airflow_provider_segmind.lineage import TaskLineage
    from airflow_provider_segmind.protocol.models import ModelParameters


_AFTER_SUBMIT = (
    "The request was submitted, and is billed if it completes. Correct the argument and clear the task: it delivers "
    "the same request."
)


class SegmindRequestOperator(BaseOperator):
    """
    Base of the operators that run one request.

    A subclass lists its arguments in its signature, and its constructor ends with
    ``self._set_arguments(locals())``: each argument becomes the attribute of its name, where Airflow renders templates
    and maps.
    """

    operator_extra_links: Collection[BaseOperatorLink] = (
        *BEFORE_THE_OUTPUT,
        SegmindOutputLink(),
        SegmindStoredLink(),
    )
    ui_color = "#eee7ff"
    #: The parameters of an upscaler's page, which its operator has as arguments.
    parameters_of: ClassVar[type[ModelParameters] | None] = None
    #: The slug is that of a PixelFlow workflow.
    runs_workflow: ClassVar[bool] = False
    #: The arguments that name the model, and its parameters.
    slug_field: ClassVar[str] = "model"
    parameters_field: ClassVar[str] = "parameters"
    #: The task itself computes the parameters.
    computes_parameters: ClassVar[bool] = False

    segmind_conn_id: str | None
    _stores = _none_given = False
    request_id: str | None = None
    output_link: str | None = None
    stored_uri: str | None = None
    _task: RequestTask | None = None
    _lineage: TaskLineage | None = None

    def __init__(self, **kwargs: Any) -> None:
        if self.parameters_of is not None and "parameters" in kwargs:
            names = ", ".join(self.parameters_of.model_fields)
            raise SegmindConfigError(f"parameters: this operator has an argument for each parameter: {names}")
        super().__init__(**known_arguments(kwargs))
        if policy := default_retry_policy(kwargs):
            self.retry_policy = policy
        self.operator_extra_links = written_by_tasks(self)

    def _set_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Keep the arguments of the constructor as attributes, and validate the literals among them."""
        assign(self, arguments)
        given = arguments["destination"]
        self.destination = None if given is NOT_GIVEN else given
        # A template may render to None, which must not mean "store nothing".
        self._stores, self._none_given = self.destination is not None, given is None
        with naming(self.task_id):
            check_outlets(self.outlets, stores=self._stores)
            self._arguments().validate()

    def _arguments(self) -> RequestArguments:
        """Return the arguments as they are now, rendered or not."""
        typed = self.parameters_of
        return RequestArguments(
            model=self._slug,
            parameters=getattr(self, self.parameters_field) if typed is None else self._typed_parameters(typed),
            wait=WaitOptions.of(self),
            submit=SubmitOptions.of(self),
            storage=StorageOptions.of(self),
            input=None if typed is None else InputOptions.of(self),
            typed=typed,
            is_workflow=self.runs_workflow,
            computed=self.computes_parameters,
            stores=self._stores,
            none_given=self._none_given,
            has_outlets=bool(self.outlets),
        )

    @property
    def _slug(self) -> str:
        return str(getattr(self, self.slug_field))

    def _typed_parameters(self, typed: type[ModelParameters]) -> dict[str, Any]:
        return {name: getattr(self, name) for name in typed.model_fields if name != "image"}

    @cached_property
    def hook(self) -> SegmindHook:
        """The hook of this task's connection."""
        return SegmindHook(self.segmind_conn_id)

    # --- the run ------------------------------------------------------------------------------------------------

    def execute(self, context: Context) -> Any:
        """Find the request of an earlier try or submit one, and wait: in the triggerer if ``deferrable``."""
        return self._run(context, lambda task: task.start(time.time()))

    def execute_after_limit(self, context: Context, event: Any = None) -> Any:
        """Resume after a rate limit for which the task has waited in the triggerer."""
        from airflow_provider_segmind.protocol.events import read_rate_limit_event

        def start(task: RequestTask) -> NextStep:
            limit = read_rate_limit_event(event)
            return task.start(limit.started_at, returns=limit.returns)

        return self._run(context, start)

    def execute_complete(self, context: Context, event: Any = None, request_id: str | None = None) -> Any:
        """Take over from the trigger: read its event, store the output, return the result."""
        # The event carries all that is needed: dag.test() drops the keyword arguments of a deferral (seen on 3.3.2).
        self._leave_out_links(BEFORE_THE_OUTPUT)  # the deferral has written them: they stay until the next try
        return self._run(context, lambda task: task.resume(event, request_id), request_id=request_id)

    def _run(self, context: Context, step: Callable[[RequestTask], NextStep], *, request_id: str | None = None) -> Any:
        from airflow_provider_segmind.execution.request_task import Finished, RequestTask
        from airflow_provider_segmind.runtime.task import environment_of

        with permanent_errors_fail(retry_policy_of(self)), closing(self.hook):
            with self._submitted(request_id):
                self._task = RequestTask(self._arguments(), environment_of(self, self.hook, context))
                try:
                    outcome = step(self._task)
                finally:
                    self.request_id = self._task.request_id
            if not isinstance(outcome, Finished):
                self._defer(outcome)
            return self._return(context, outcome)

    @contextmanager
    def _submitted(self, request_id: str | None) -> Iterator[None]:
        """Let an error of an argument state that its request was submitted, if a task resumes with it."""
        try:
            yield
        except SegmindConfigError as error:
            if request_id is not None:
                error.request_id, error.next_step = request_id, _AFTER_SUBMIT
            raise

    def _return(self, context: Context, finished: Finished) -> Any:
        """Return the task's value, with its links and lineage."""
        before: Any = self.on_success_callback or []
        callbacks = before if isinstance(before, list | tuple) else [before]
        self.on_success_callback = [*callbacks, lambda context: finished.close()]
        if finished.lineage is not None:
            value = finished.value
            self.output_link = None if value.get("skipped") else value.get("output")  # a skipped output has expired
            self.stored_uri = (value.get("stored") or [{}])[0].get("uri")
            self._lineage = finished.lineage
            emit(context, self.hook, self.outlets, finished.lineage)
        return finished.value

    def _defer(self, outcome: WaitForRateLimit | WaitInTriggerer) -> NoReturn:
        from airflow_provider_segmind.execution.request_task import WaitForRateLimit

        if isinstance(outcome, WaitForRateLimit):
            self._defer_for_rate_limit(outcome)
        self._defer_for_request(outcome)

    def _defer_for_rate_limit(self, outcome: WaitForRateLimit) -> NoReturn:
        from airflow_provider_segmind.triggers.rate_limit import SegmindRateLimitTrigger

        self.defer(
            trigger=SegmindRateLimitTrigger(
                segmind_conn_id=self.segmind_conn_id,
                opens_at=outcome.opens_at,
                started_at=outcome.started_at,
                deadline=outcome.deadline,
                returns=outcome.returns,
                not_before=not_before(),
            ),
            method_name="execute_after_limit",
            timeout=deferral_timeout(outcome.deadline),
        )

    def _defer_for_request(self, outcome: WaitInTriggerer) -> NoReturn:
        from airflow_provider_segmind.triggers.segmind import SegmindRequestTrigger

        self._leave_out_links((SegmindOutputLink(), SegmindStoredLink()))
        watch = outcome.watch
        self.defer(
            trigger=SegmindRequestTrigger(
                request_id=watch.request_id,
                segmind_conn_id=self.segmind_conn_id,
                model=watch.model,
                deadline=watch.deadline,
                submitted_at=watch.submitted_at,
                poll_interval=watch.poll_interval,
                expected_duration=watch.expected_duration,
                queue_timeout=watch.queue_timeout,
                inline=watch.inline,
                input_size=outcome.input_size,
                not_before=not_before(),
                end_from_trigger=WaitOptions.of(self).end_from_trigger,
                do_xcom_push=self.do_xcom_push,
                request_info=outcome.request_info,
            ),
            method_name="execute_complete",
            kwargs={"request_id": watch.request_id},
            timeout=deferral_timeout(watch.deadline),
        )

    def on_kill(self) -> None:
        """Log that the request continues: Segmind has no cancel call."""
        request_id = self._task.request_id if self._task else None
        if request_id:
            durable = SubmitOptions.of(self).durable
            self.log.warning(
                "The task was killed while Segmind request %s (%s) was running. Segmind has no cancel call: the "
                "request continues, and is billed if it completes. %s",
                request_id,
                self._slug,
                "The next try reattaches to it." if durable else "With durable=False the next try submits again.",
            )

    # --- what people see ------------------------------------------------------------------------------------------

    def _leave_out_links(self, links: Collection[BaseOperatorLink]) -> None:
        """Write fewer links: Airflow writes each in a call of its own whenever a process of the task ends."""
        self.operator_extra_links = [link for link in self.operator_extra_links if link not in links]

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """
        Return inputs, outputs, and what is known of the request, for OpenLineage's listener.

        Called after a failure, too: then there are no outputs, but perhaps a request.
        """
        from airflow_provider_segmind.execution.request_task import lineage_of

        known = {"model": self._slug, "request_id": self.request_id}
        if self._lineage is None:
            try:
                self._lineage = lineage_of(self._arguments(), known)
            except SegmindConfigError:  # an argument that rendered wrong: the reason why the task failed
                self._lineage = task_lineage(known, {})
        return openlineage_facets(self._lineage)
