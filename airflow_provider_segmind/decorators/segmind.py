"""``@task.segmind``: a function returns a model's parameters, and the task runs the model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_segmind.compat import retry_policy_of
from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.execution.options import NOT_GIVEN, OnLostSubmit, SubmitOptions, WaitOptions
from airflow_provider_segmind.operators.segmind import SegmindBatchOperator, SegmindRunModelOperator
from airflow_provider_segmind.runtime.failures import permanent_errors_fail

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskDecorator


class _Decorated(DecoratedOperator):
    """Airflow's base, with what Airflow 3.0 lacks."""

    if not hasattr(DecoratedOperator, "xcom_push"):
        xcom_push = None  # Airflow 3.0 reads it once the model has run, and fails the task without it

    def _returned(self, context: Context) -> Any:
        """Return what the function returns."""
        context_merge(context, self.op_kwargs)
        function = self.python_callable
        return function(*self.op_args, **determine_kwargs(function, self.op_args, context))


class _SegmindDecoratedOperator(_Decorated, SegmindRunModelOperator):
    """
    Call a function for the parameters of a model, and run the model.

    :param python_callable: returns the parameters.
    :param op_args: its positional arguments. (templated)
    :param op_kwargs: its keyword arguments. (templated)
    """

    # Not "parameters": the returned value is not rendered, because it may contain untrusted text.
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *(field for field in SegmindRunModelOperator.template_fields if field != "parameters"),
    )
    template_fields_renderers = DecoratedOperator.template_fields_renderers
    custom_operator_name = "@task.segmind"
    computes_parameters = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., Mapping[str, Any]],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if "parameters" in kwargs:
            raise SegmindConfigError("@task.segmind has no argument parameters=: the function returns them")
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **kwargs)

    def execute(self, context: Context) -> Any:
        """Call the function, and run the model with what it returns."""
        self.parameters = self._computed(context)
        return super().execute(context)

    def execute_after_limit(self, context: Context, event: Any = None) -> Any:
        """Resume after a rate limit; nothing was submitted before it, so the parameters were not kept."""
        self.parameters = self._computed(context)
        return super().execute_after_limit(context, event)

    def _computed(self, context: Context) -> Mapping[str, Any]:
        returned = self._returned(context)
        with permanent_errors_fail(retry_policy_of(self)):
            if isinstance(returned, list | tuple):
                raise SegmindConfigError(
                    f"the function returned {len(returned)} sets of parameters, and a task of @task.segmind is one "
                    "request: set batch=True, or map the task over its inputs with .expand()"
                )
            if not isinstance(returned, Mapping):
                raise SegmindConfigError(
                    f"the function must return the parameters of {self.model} as a dict, not {type(returned).__name__}"
                )
        return returned


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
            raise SegmindConfigError("@task.segmind has no argument items=: the function returns them")
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, items=[], **kwargs)

    def execute(self, context: Context) -> dict[str, Any]:
        """Call the function, and begin the batch that it returns."""
        self.items = self._computed(context)
        value: dict[str, Any] = super().execute(context)
        return value

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Call the function again, and resume the batch, which must be the same."""
        self.items = self._computed(context)
        value: dict[str, Any] = super().execute_complete(context, event)
        return value

    def _computed(self, context: Context) -> list[Any]:
        returned = self._returned(context)
        with permanent_errors_fail(retry_policy_of(self)):
            if not isinstance(returned, list | tuple):
                raise SegmindConfigError(
                    f"with batch=True the function must return a list of parameters, not {type(returned).__name__}"
                )
        return list(returned)


def segmind_task(
    python_callable: Callable[..., Any] | None = None,
    *,
    model: str,
    destination: str | None = NOT_GIVEN,
    destination_conn_id: str | None = None,
    segmind_conn_id: str | None = "segmind_default",
    deferrable: bool | None = None,
    wait_for_completion: bool = True,
    timeout: float = WaitOptions.timeout,
    durable: bool = True,
    on_lost_submit: OnLostSubmit = SubmitOptions.on_lost_submit,
    batch: bool = False,
    multiple_outputs: bool = False,
    **kwargs: Any,
) -> TaskDecorator:
    """
    Make a task that runs a Segmind model with the parameters that a function returns.

    ``@task.segmind(model="esrgan")`` in a DAG; for completion and checks in an editor, import this function and write
    ``@segmind_task(model="esrgan")``, which is the same. The task is a
    :class:`~airflow_provider_segmind.operators.segmind.SegmindRunModelOperator`, with its ledger, deferral and errors,
    and returns what that returns.

    The function runs in the worker, before the submit, once in each try; not again after the wait for the request.
    It must return the same in each try: a retry reattaches to the request of an earlier try by its parameters. If it
    returns something else (the time, a random seed), the retry logs that, submits again, and pays again. (After a rate
    limit, before anything was submitted, it runs again.) What it returns is taken as it is: no template in it is
    rendered. Templates in the arguments of the function and of the decorator are.

    It returns one set of parameters. For many images map the task (``upscale.expand(image=[…])``), or return a list
    with ``batch=True``: the task then is a :class:`~airflow_provider_segmind.operators.segmind.SegmindBatchOperator`
    and takes its arguments (``max_failures``, ``max_in_flight``, …), needs a destination, and always defers. The
    function runs again after each deferral of a batch, and must return the same list.

    :param python_callable: the function to decorate.
    :param model: slug of the model. (templated)
    :param destination: URI of an object or a folder to store the output in. (templated)
    :param destination_conn_id: Airflow connection of that storage. (templated)
    :param segmind_conn_id: Airflow connection (default ``segmind_default``); None for the key in ``SEGMIND_API_KEY``.
        (templated)
    :param deferrable: wait in the triggerer (default: ``[operators] default_deferrable``).
    :param wait_for_completion: False to return the request id right after the submit (default True).
    :param timeout: seconds for the whole run (default 600).
    :param durable: keep a request record, so that a retry finds the request (default True).
    :param on_lost_submit: ``fail`` (default) or ``resubmit``, see :class:`.SubmitOptions`.
    :param batch: the function returns a list of parameters, one set for each image (default False).
    :param multiple_outputs: push each key of the result as an XCom of its own, too (default False, whatever the
        function's annotation: that is about the parameters).
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
