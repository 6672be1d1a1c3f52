"""``@task.segmind``: a function returns a model's parameters, and the task runs the model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_segmind.compat import retry_policy_of
from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.execution.options import NOT_GIVEN
from airflow_provider_segmind.execution.single import Prepared
from airflow_provider_segmind.operators.batch import SegmindBatchOperator
from airflow_provider_segmind.operators.common import permanent_errors_fail
from airflow_provider_segmind.operators.run_model import SegmindRunModelOperator
from airflow_provider_segmind.protocol.redaction import redacted
from airflow_provider_segmind.storage.names import stem_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskDecorator

    from airflow_provider_segmind.execution.destination import Destination


class _Decorated(DecoratedOperator):
    """What Airflow's own base lacks."""

    if not hasattr(DecoratedOperator, "xcom_push"):
        xcom_push = None  # Airflow 3.0 hands it on when the model has run, and fails the task where there is none


class _SegmindDecoratedOperator(_Decorated, SegmindRunModelOperator):
    """
    Call a function for the parameters of a model, and run the model.

    :param python_callable: returns the parameters.
    :param op_args: its positional arguments. (templated)
    :param op_kwargs: its keyword arguments. (templated)
    """

    # Not "parameters": what the function returns is final. It may be somebody else's text, and no template of ours.
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(field for field in SegmindRunModelOperator.template_fields if field != "parameters"),
    )
    template_fields_renderers = DecoratedOperator.template_fields_renderers
    custom_operator_name = "@task.segmind"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Mapping[str, Any]],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if "parameters" in kwargs:
            raise SegmindConfigError("@task.segmind takes no parameters=: the function returns them")
        self._noted: dict[str, Any] = {}
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **kwargs)

    def _check_early(self) -> None:
        """Check nothing yet: the parameters exist only once the function has run."""

    def execute(self, context: Context) -> Any:
        """Call the function, and run the model with what it returns."""
        self._call(context)
        return super().execute(context)

    def execute_after_limit(self, context: Context, event: Any = None) -> Any:
        """Go on after a rate limit; nothing was submitted before it, so nothing was kept of the parameters."""
        self._call(context)
        return super().execute_after_limit(context, event)

    def execute_complete(self, context: Context, event: Any = None, request_id: str | None = None) -> dict[str, Any]:
        """Take over from the trigger, with what was noted of the parameters: the function is not called again."""
        self._noted = (event.get("request_info") if isinstance(event, Mapping) else None) or {}
        return super().execute_complete(context, event, request_id)

    def _note(self, prepared: Prepared, note: dict[str, Any]) -> dict[str, Any]:
        stem = stem_of(self._source(), otherwise=self.task_id)
        return {**super()._note(prepared, note), "parameters": redacted(prepared.body), "stem": stem}

    def _body(self) -> dict[str, Any]:
        noted = self._noted.get("parameters")
        return noted if isinstance(noted, dict) else super()._body()

    def _delivery(
        self, context: Context, note: Mapping[str, Any], input_size: tuple[int, int] | None
    ) -> Destination | None:
        delivery = super()._delivery(context, note, input_size)
        return replace(delivery, stem=self._noted.get("stem")) if delivery else None

    def _call(self, context: Context) -> None:
        returned = _returned_by(self, context)
        with self._permanent_errors_fail():
            if isinstance(returned, list | tuple):
                raise SegmindConfigError(
                    f"the function returned {len(returned)} sets of parameters, and a task of @task.segmind is one "
                    "request: say batch=True, or map it over its inputs with .expand()"
                )
            if not isinstance(returned, Mapping):
                raise SegmindConfigError(
                    f"the function must return the parameters of {self.model} as a dict, not {type(returned).__name__}"
                )
        self.parameters = returned


class _SegmindBatchDecoratedOperator(_Decorated, SegmindBatchOperator):
    """
    Call a function for the items of a batch, and run the batch.

    :param python_callable: returns the items.
    :param op_args: its positional arguments. (templated)
    :param op_kwargs: its keyword arguments. (templated)
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(field for field in SegmindBatchOperator.template_fields if field != "items"),
    )
    template_fields_renderers = {**DecoratedOperator.template_fields_renderers, "parameters": "json"}
    custom_operator_name = "@task.segmind"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Sequence[Mapping[str, Any] | str]],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if "items" in kwargs:
            raise SegmindConfigError("@task.segmind takes no items=: the function returns them")
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, items=[], **kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        """Call the function, and begin the batch that it returns."""
        self._call(context)
        value: dict[str, Any] = super().execute(context)
        return value

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Call the function again, and go on with the batch, which must be the same."""
        self._call(context)
        value: dict[str, Any] = super().execute_complete(context, event)
        return value

    def _call(self, context: Context) -> None:
        returned = _returned_by(self, context)
        with permanent_errors_fail(retry_policy_of(self)):
            if not isinstance(returned, list | tuple):
                raise SegmindConfigError(
                    f"with batch=True the function must return a list of parameters, not {type(returned).__name__}"
                )
        self.items = list(returned)


def _returned_by(operator: DecoratedOperator, context: Context) -> Any:
    context_merge(context, operator.op_kwargs)
    function = operator.python_callable
    return function(*operator.op_args, **determine_kwargs(function, operator.op_args, context))


def segmind_task(
    python_callable: Callable[..., Any] | None = None,
    *,
    model: str,
    destination: str | None = NOT_GIVEN,
    destination_conn_id: str | None = None,
    segmind_conn_id: str | None = "segmind_default",
    deferrable: bool | None = None,
    wait_for_completion: bool = True,
    timeout: float = 600.0,
    durable: bool = True,
    on_lost_submit: Literal["fail", "resubmit"] = "fail",
    batch: bool = False,
    multiple_outputs: bool = False,
    **kwargs: Any,
) -> TaskDecorator:
    """
    Make a task that runs a Segmind model of a function that returns the model's parameters.

    ``@task.segmind(model="esrgan")`` in a DAG; for completion and checks in an editor, import this function and write
    ``@segmind_task(model="esrgan")``, which is the same. The task is a
    :class:`~airflow_provider_segmind.operators.run_model.SegmindRunModelOperator`, ledger, deferral and errors
    included, and returns what that returns.

    The function runs in the worker, before the submit, once in each try; not again after the wait for the request.
    It has to return the same in each try: a retry finds the request of an earlier try by the parameters. Where it
    returns something else (the time, a random seed), the retry says so in the log, and submits, and pays, anew.
    (After a rate limit, before anything was submitted, it runs again.) What it returns is taken as it is: no template
    in it is rendered. Templates in the arguments of the function and of the decorator are.

    It returns one set of parameters. For many pictures map the task (``upscale.expand(image=[…])``), or return a list
    with ``batch=True``: the task then is a :class:`~airflow_provider_segmind.operators.batch.SegmindBatchOperator` and
    takes its arguments (``max_failures``, ``max_in_flight``, …), needs a destination, and always defers. The function
    runs again after each deferral of a batch, and has to return the same list.

    :param python_callable: the function to decorate.
    :param model: slug of the model. (templated)
    :param destination: URI of an object or a folder to store the output in. (templated)
    :param destination_conn_id: Airflow connection of that storage. (templated)
    :param segmind_conn_id: Airflow connection; None for the key in ``SEGMIND_API_KEY``. (templated)
    :param deferrable: wait in the triggerer (default: ``[operators] default_deferrable``).
    :param wait_for_completion: False to return the request id right after the submit.
    :param timeout: seconds for the whole run.
    :param durable: remember the request, so that a retry finds it.
    :param on_lost_submit: ``fail`` (default) or ``resubmit``.
    :param batch: the function returns a list of parameters, one set for each picture (default False).
    :param multiple_outputs: push each key of the result as an XCom of its own, too (default False, whatever the
        function's annotation says: that is about the parameters).
    :param kwargs: further arguments of the operator, and of every task: ``retries``, ``task_id``, …
    """
    if destination is not NOT_GIVEN:
        kwargs["destination"] = destination
    if batch:
        if kwargs.get("destination") is None or deferrable is False or not wait_for_completion:
            raise SegmindConfigError(
                "batch=True needs a destination, and waits in the triggerer: see SegmindBatchOperator"
            )
    else:
        kwargs["wait_for_completion"] = wait_for_completion
        if deferrable is not None:
            kwargs["deferrable"] = deferrable
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=_SegmindBatchDecoratedOperator if batch else _SegmindDecoratedOperator,
        model=model,
        destination_conn_id=destination_conn_id,
        segmind_conn_id=segmind_conn_id,
        timeout=timeout,
        durable=durable,
        on_lost_submit=on_lost_submit,
        **kwargs,
    )
