"""SegmindRunModelOperator: submit once, wait, hand over. The upscalers are built on it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.links.segmind import SegmindModelLink, SegmindOutputLink
from airflow_provider_segmind.operators.common import file_name, is_final, permanent_errors_fail
from airflow_provider_segmind.protocol.events import CompletedEvent, TimeoutEvent, read_event
from airflow_provider_segmind.protocol.models import check_known, request_body
from airflow_provider_segmind.protocol.waiting import Watch
from airflow_provider_segmind.storage import MAX_BYTES, object_path, store_result
from airflow_provider_segmind.triggers.segmind import SegmindRequestTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_segmind.protocol.wire import RequestState, Result

#: Seconds between our own deadline and Airflow's deferral time-out, so that ours is the one that is told.
_DEFERRAL_MARGIN = 60.0


class SegmindRunModelOperator(BaseOperator):
    """
    Run any Segmind model by its slug: submit, wait without a worker, hand over (and store) the result.

    Returns a JSON object (XCom): ``request_id``, ``model``, ``status``, ``output`` (URL, or null where the output
    is not a URL), ``outputs`` (``[{url, content_type, file_name, file_size}]``), ``metrics`` (``cost``,
    ``remaining_credits`` in credits; ``inference_time``, ``queue_time``, ``total_time`` in seconds) and, with a
    destination, ``stored`` (``[{uri, bytes, sha256, content_type, width, height}]``). With
    ``wait_for_completion=False``: the request id.

    What cannot succeed on a retry (a refused key, a bad parameter, a blocked picture, …) fails the task for good;
    what may pass (the gateway in trouble, a time-out, a broken store) is left to the task's retries. Each submit
    is billed once its request completes, and Segmind has no cancel call.

    :param model: slug, the last part of the model page's address, such as ``esrgan``. (templated)
    :param parameters: the model's parameters by name; the three upscalers' are checked against their pages
        before anything is sent, any other model's are sent as they are. (templated)
    :param destination: URI of an object or a folder (ends with ``/``) in any storage that ``ObjectStoragePath``
        knows: ``file://``, ``s3://``, ``gs://``; default: nothing is stored. (templated)
    :param destination_conn_id: Airflow connection of that storage. (templated)
    :param max_bytes: refuse to store a larger output (bytes; default 2 GiB).
    :param segmind_conn_id: Airflow connection; None for the key in ``SEGMIND_API_KEY``. (templated)
    :param deferrable: wait in the triggerer (default: ``[operators] default_deferrable``), else in the worker.
    :param wait_for_completion: False to return the request id right after the submit.
    :param poll_interval: seconds between two looks; default: by what is known of the model.
    :param timeout: seconds for the whole run, from the start of the task (default 600, the vendor's advice).
    :param defer_after: with ``deferrable``, first wait up to this many seconds in the worker: it spares the
        deferral where requests finish at once (default 0: defer right away).
    """

    template_fields: Sequence[str] = (
        "model",
        "parameters",
        "destination",
        "destination_conn_id",
        "segmind_conn_id",
    )
    template_fields_renderers = {"parameters": "json"}
    operator_extra_links = (SegmindModelLink(), SegmindOutputLink())
    ui_color = "#eee7ff"

    def __init__(
        self,
        *,
        model: str,
        parameters: Mapping[str, Any] | str | None = None,
        destination: str | None = None,
        destination_conn_id: str | None = None,
        max_bytes: int = MAX_BYTES,
        segmind_conn_id: str | None = SegmindHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        wait_for_completion: bool = True,
        poll_interval: float | None = None,
        timeout: float = 600.0,
        defer_after: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.parameters = parameters
        self.destination = destination
        self.destination_conn_id = destination_conn_id
        self.max_bytes = max_bytes
        self.segmind_conn_id = segmind_conn_id
        self.deferrable = deferrable
        self.wait_for_completion = wait_for_completion
        self.poll_interval = poll_interval
        self.timeout = timeout
        self.defer_after = defer_after
        self.request_id: str | None = None
        self.output_link: str | None = None
        self._check_plain_arguments()
        self._check_early()

    # --- checks ---------------------------------------------------------------------------------------------

    def _check_plain_arguments(self) -> None:
        positive = {"timeout": self.timeout, "max_bytes": self.max_bytes}
        if self.poll_interval is not None:
            positive["poll_interval"] = self.poll_interval
        for name, value in positive.items():
            if not math.isfinite(value) or value <= 0:
                raise SegmindConfigError(f"{name} must be a positive number, not {value!r}")
        if not math.isfinite(self.defer_after) or self.defer_after < 0:
            raise SegmindConfigError(f"defer_after must be 0 or more seconds, not {self.defer_after!r}")
        if self.destination is not None and not self.wait_for_completion:
            raise SegmindConfigError(
                "wait_for_completion=False has no output to put into a destination; store it in the task that waits"
            )

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
        check_known(self.model, parameters, pending=pending)
        self._check_inline_output(parameters)

    def _check_inline_output(self, parameters: Mapping[str, Any]) -> None:
        """A picture as base64 is megabytes of text: it goes into storage or nowhere, never through XCom."""
        asked = parameters.get("base64")
        wanted = asked is True or (isinstance(asked, str) and asked.strip().lower() == "true")
        if wanted and self.destination is None and self.wait_for_completion:
            raise SegmindConfigError(
                "base64=True returns the picture as text, which does not fit through XCom: give a destination= "
                "to decode it into, or leave base64 out to get a URL"
            )

    def _named_parameters(self) -> Any:
        """Return the model's parameters as they are now, rendered or not."""
        return {} if self.parameters is None else self.parameters

    def _pending_names(self) -> set[str]:
        """Return the names of parameters that exist only at run time."""
        return set()

    # --- the run --------------------------------------------------------------------------------------------

    @cached_property
    def hook(self) -> SegmindHook:
        """The hook of this task's connection."""
        return SegmindHook(self.segmind_conn_id)

    def execute(self, context: Context) -> Any:
        """Submit once, then wait: in the triggerer if ``deferrable``, else here."""
        started_at = time.time()
        with permanent_errors_fail():
            body, input_size = self._prepare()
            self._submit(context, body)
            if not self.wait_for_completion:
                return self.request_id
            event = self._watch(started_at, input_size)
            if event is None:
                self._defer(started_at, input_size)
            return self._finish(context, event)

    def execute_complete(self, context: Context, event: Any = None, request_id: str | None = None) -> dict[str, Any]:
        """Take over from the trigger: read its event, store the output, return the result."""
        # dag.test() hands on the event alone and drops the keyword arguments of a deferral (seen on 3.3.2), so
        # nothing here depends on them: the event carries all that is needed.
        self.request_id = request_id
        with permanent_errors_fail():
            return self._finish(context, event)

    def _prepare(self) -> tuple[dict[str, Any], tuple[int, int] | None]:
        """Check everything that can be checked before it costs money; return the body and the input's pixels."""
        parameters = self._named_parameters()
        body = request_body(self.model, parameters)
        self._check_inline_output(body)
        if self.destination is not None:
            object_path(self.destination, self.destination_conn_id)
        return body, None

    def _submit(self, context: Context, body: Mapping[str, Any]) -> None:
        """Submit the request: the one place where money is spent, between the intention and the request id."""
        submitted = self.hook.submit(self.model, body)
        self.request_id = submitted.request_id
        self.log.info("Submitted %s as Segmind request %s", self.model, self.request_id)
        if self.do_xcom_push:
            context["ti"].xcom_push(key="request_id", value=self.request_id)

    def _watch(self, started_at: float, input_size: tuple[int, int] | None) -> dict[str, Any] | None:
        """Wait here and return the event that ends the wait; None where the triggerer is to wait on."""
        if self.deferrable and self.defer_after == 0:
            return None
        patience = min(self.defer_after, self.timeout) if self.deferrable else self.timeout
        watch = Watch(
            request_id=self.request_id or "",
            model=self.model,
            submitted_at=started_at,
            deadline=started_at + patience,
            poll_interval=self.poll_interval,
            on_state=self._tell,
        )
        if self.deferrable and watch.schedule.wait(0) > patience:
            return None  # nothing to see so early: a look would be a poll for nothing
        event = self.hook.watch(watch)
        if isinstance(event, TimeoutEvent) and patience < self.timeout:
            return None
        return event.model_copy(update={"input_size": input_size}).payload()

    def _defer(self, started_at: float, input_size: tuple[int, int] | None) -> NoReturn:
        self.hook.close()
        remaining = max(0.0, started_at + self.timeout - time.time())
        self.defer(
            trigger=SegmindRequestTrigger(
                request_id=self.request_id or "",
                segmind_conn_id=self.segmind_conn_id,
                model=self.model,
                deadline=started_at + self.timeout,
                submitted_at=started_at,
                poll_interval=self.poll_interval,
                input_size=input_size,
            ),
            method_name="execute_complete",
            kwargs={"request_id": self.request_id},
            timeout=timedelta(seconds=remaining + _DEFERRAL_MARGIN),
        )

    def _finish(self, context: Context, payload: Any) -> dict[str, Any]:
        """Read how it ended, store the output and return what the task hands on."""
        event = read_event(payload, request_id=self.request_id)
        self.request_id = event.request_id
        with self.hook as hook:
            if isinstance(event, CompletedEvent):
                result = event.result
            else:
                result = hook.get_result(event.request_id, model=self.model)
            handed_over = result.to_xcom()
            self.output_link = result.output
            self._tell_cost(result)
            if self.destination is not None:
                stored = store_result(
                    hook,
                    result,
                    self.destination,
                    conn_id=self.destination_conn_id,
                    name=file_name(context),
                    max_bytes=self.max_bytes,
                    at_least=event.input_size,
                )
                handed_over["stored"] = [item.to_dict() for item in stored]
                self.output_link = stored[0].uri
        return handed_over

    # --- what people see ------------------------------------------------------------------------------------

    def _tell(self, state: RequestState) -> None:
        self.log.info("Segmind request %s (%s) is %s", self.request_id, self.model, state)

    def _tell_cost(self, result: Result) -> None:
        metrics = result.metrics
        self.log.info(
            "Segmind request %s (%s) completed: cost %s credits, %s left; %s s in all, %s s queued, %s s running",
            result.request_id,
            result.model,
            metrics.cost,
            metrics.remaining_credits,
            metrics.total_time,
            metrics.queue_time,
            metrics.inference_time,
        )

    def on_kill(self) -> None:
        """Say what stays behind: Segmind has no cancel call."""
        if self.request_id:
            self.log.warning(
                "Killed while Segmind request %s (%s) runs. Segmind has no cancel call: it goes on, and is billed "
                "if it completes.",
                self.request_id,
                self.model,
            )
