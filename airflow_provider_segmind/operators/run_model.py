"""SegmindRunModelOperator: submit once, wait, deliver. The upscalers are built on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, closing
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind import telemetry
from airflow_provider_segmind.compat import retry_policy_of
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindRateLimitedError, SegmindTimeoutError
from airflow_provider_segmind.execution.gateway import SegmindModel
from airflow_provider_segmind.execution.record import RequestRecord
from airflow_provider_segmind.execution.single import Delivered, Prepared, SingleRun, Submitted, check_place
from airflow_provider_segmind.execution.submit import opens_at
from airflow_provider_segmind.execution.want import Want
from airflow_provider_segmind.jitter import spread
from airflow_provider_segmind.operators.common import (
    check_inline_output,
    deferral_timeout,
    instance_of,
    not_before,
    permanent_errors_fail,
    records_of,
    serves_previews,
)
from airflow_provider_segmind.operators.engine import engine_of
from airflow_provider_segmind.operators.wait import WaitsForRequest
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.protocol.events import read_any_event, read_rate_limit_event
from airflow_provider_segmind.protocol.identity import KEY_LENGTH
from airflow_provider_segmind.protocol.redaction import redacted
from airflow_provider_segmind.storage.verification import data_uri_size

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_segmind.execution.destination import Destination
    from airflow_provider_segmind.protocol.wire import RequestState


class SegmindRunModelOperator(WaitsForRequest):
    """
    Run any Segmind model by its slug: submit, wait without a worker, return (and store) the result.

    Returns a JSON object (XCom): ``request_id``, ``model``, ``status``, ``output`` (URL, or null where the output
    is not a URL), ``outputs`` (``[{url, content_type, file_name, file_size}]``), ``metrics`` (``cost``,
    ``remaining_credits`` in credits; ``inference_time``, ``queue_time``, ``total_time`` in seconds) and, with a
    destination, ``stored`` (``[{uri, bytes, sha256, content_type, width, height}]``, and ``preview`` where ``[segmind]
    serve_previews`` is on, see docs/security.md). With ``wait_for_completion=False``: the request id.

    What cannot succeed on a retry (a refused key, a bad parameter, a blocked image, …) fails the task for good;
    what may pass (the gateway in trouble, a timeout, a broken store) is left to the task's retries. Each submit
    is billed once its request completes, and Segmind has no cancel call. A clear after a real success submits again;
    a task that failed after ``execute`` returned delivers the same result again. What is guaranteed, and on which
    assumptions: docs/reliability.md.

    :param model: slug, the last part of the model page's address, such as ``esrgan``. (templated)
    :param parameters: the model's parameters by name; the three upscalers' are checked against their pages
        before anything is sent, any other model's are sent as they are. (templated)
    :param destination: URI of an object or a folder (ends with ``/``) in any storage that ``ObjectStoragePath``
        knows: ``file://``, ``s3://``, ``gs://``; default: nothing is stored. A mapped task that is given None is
        refused: leave the argument out. (templated) After rendering, ``{model}``,
        ``{stem}`` (the input's name without extension), ``{request_id}``, ``{map_index}`` and ``{ext}`` (the extension
        of what comes out, without a dot) are filled in. In a folder the object is named by task id and map index; see
        ``skip_existing``. Two mapped tasks with the same target: the second one fails before it submits.
    :param destination_conn_id: Airflow connection of that storage. (templated)
    :param max_bytes: refuse to store a larger output (bytes; default 2 GiB).
    :param sidecar: write ``<object>.json`` beside the object: model, parameters, request id, cost, SHA-256 of input and
        output, times (default False). Never the key; a hash for an image, no query of a URL.
    :param if_exists: what to do with an object that is there before a submit: ``overwrite`` (default), ``fail``
        (before anything is billed; and again right before it would be replaced), or ``skip``. ``fail`` and ``skip``
        consider every extension that the output may have.
    :param skip_existing: the same as ``if_exists="skip"``: where the object and its sidecar are there, made from the
        same input with the same parameters, return what the sidecar says, with ``skipped: true`` and a cost of 0;
        nothing is submitted. Anything else is made, and overwritten. Writes sidecars. An ``image`` is the same where
        its URL (without its signature) is, an ``input_path`` where its content is. In a folder the object is named
        ``<stem>-<first 8 characters of the key>``, by input and parameters instead of by map index: one more image in a
        listing shifts no names.
    :param segmind_conn_id: Airflow connection; None for the key in ``SEGMIND_API_KEY``. (templated)
    :param deferrable: wait in the triggerer (default: ``[operators] default_deferrable``), else in the worker.
    :param wait_for_completion: False to return the request id right after the submit.
    :param poll_interval: seconds between two polls; default: by what is known of the model: first
        ``expected_duration`` or the time that its page states, then what its completed requests took.
    :param expected_duration: seconds that a request is expected to take (default: what the model's page states, if
        anything). It is where polling begins, not a limit.
    :param timeout: seconds for the whole run, from the start of the task (default 600, the vendor's advice).
    :param queue_timeout: seconds that the request may be QUEUED, from its submit (default: as long as ``timeout``).
    :param durable: keep a request record in Airflow's task state store, for 8 days after its latest write, so that a
        retry, a clear or a killed process reattaches instead of paying again (default True). Where there is no record
        (before Airflow 3.3, or the store was cleaned), a try after the first asks the request history before it
        submits. False: each try submits.
    :param on_lost_submit: what to do where the response to a submit was lost, and the request history neither shows the
        request nor, by a later one, proves that it was never accepted: ``fail`` (default: with a retryable error; the
        next try searches again) or ``resubmit``, which is a second bill if the history is late. It also decides about
        a request whose record is gone after its hour and whose output the history does not show, or which it calls
        pending for more than a day.
    :param lost_submit_wait: seconds for which the history is searched for it in each try (default 30): rows can appear
        late.
    :param min_remaining_credits: submit nothing while the balance is below this; default: the connection's, if any.
    :param defer_after: with ``deferrable``, first wait up to this many seconds in the worker: it spares the
        deferral where requests finish at once (default 0: defer right away).
    :param end_from_trigger: with ``deferrable`` and no destination, let the triggerer end the task once the request
        is COMPLETED, with the result as its XCom: no second worker start (default False; before Airflow 3.3 with
        ``do_xcom_push=False`` only). Airflow then skips what a worker does after ``execute``: ``post_execute``,
        listeners, OpenLineage, asset events (``outlets`` are refused) and the link to the output;
        ``on_success_callback`` runs in the DAG processor. Anything but COMPLETED resumes the task, so retries,
        callbacks and the ledger work as ever. The request record is not closed: a clear after the success returns the
        same result again, for as long as Segmind keeps the output (7 days).
    """

    # --- the run --------------------------------------------------------------------------------------------

    def execute(self, context: Context) -> Any:
        """Find the request of an earlier try or submit one, and wait: in the triggerer if ``deferrable``."""
        return self._run(context, time.time())

    def execute_after_limit(self, context: Context, event: Any = None) -> Any:
        """Go on after a rate limit that was waited out in the triggerer."""
        with self._permanent_errors_fail():
            limiter = read_rate_limit_event(event)
        return self._run(context, limiter.started_at, returns=limiter.returns)

    def execute_complete(self, context: Context, event: Any = None, request_id: str | None = None) -> dict[str, Any]:
        """Take over from the trigger: read its event, store the output, return the result."""
        # The event carries all that is needed: dag.test() drops the keyword arguments of a deferral (seen on 3.3.2).
        self._links_of_the_output()
        with self._permanent_errors_fail(), closing(self.hook):
            with telemetry.counting_errors(self.model, request_id):
                found = read_any_event(event, request_id=request_id)
            self.request_id = found.request_id
            note = found.request_info or {}
            want = Want({}, RequestRecord(key=str(note.get("key") or "")))
            run = self._single(context, want, self._delivery(context, note, found.input_size))
            return self._return(context, run, run.resume(found))

    def _permanent_errors_fail(self) -> AbstractContextManager[None]:
        return permanent_errors_fail(retry_policy_of(self))

    def _run(self, context: Context, started_at: float, *, returns: int = 0) -> Any:
        with self._permanent_errors_fail(), closing(self.hook):
            self._check_mapped(instance_of(context).map_index)
            prepared = self._with_input(
                self._prepare(), lambda: records_of(context, durable=self.durable).read().values()
            )
            while True:
                try:
                    return self._start(context, prepared, started_at)
                except SegmindRateLimitedError as error:
                    self._wait_out(error, started_at, returns)

    def _start(self, context: Context, prepared: Prepared, started_at: float) -> Any:
        """Deliver, reattach or submit; and wait."""
        gateway = self.hook.settings.gateway
        note = prepared.note(self.model, gateway, None)
        delivery = self._delivery(context, note, prepared.input_size)
        if delivery:
            delivery.check()
            if (source := self._input_path()) is not None:
                delivery.spare(source, note["fingerprint"], prepared.body)
        run = self._single(
            context,
            prepared.want(self.model, gateway),
            delivery,
            lambda: check_place(delivery, prepared, note["fingerprint"]),
            can_submit=prepared.missing is None,
        )
        found = run.start(deadline=self._deadline(started_at), waits=self.wait_for_completion)
        if isinstance(found, Delivered):
            return self._return(context, run, found)
        note.update(prepared.note(self.model, gateway, found.submitted_at))
        self.request_id = found.request_id
        if self.do_xcom_push:
            context["ti"].xcom_push(key="request_id", value=self.request_id)
        if not self.wait_for_completion:
            self._on_success(run)
            return self.request_id
        watch = Watch(
            request_id=found.request_id,
            model=self.model,
            submitted_at=found.submitted_at,
            deadline=self._deadline(started_at),
            poll_interval=self.poll_interval,
            expected_duration=self.expected_duration,
            queue_timeout=self.queue_timeout,
            inline=prepared.body.get("base64") is True,
            on_state=self._log_state,
        )
        event = self._wait_here(watch, started_at)
        if event is None:
            self._defer(watch, prepared.input_size, self._note(prepared, note))
        return self._return(context, run, run.resume(event))

    def _single(
        self,
        context: Context,
        want: Want,
        delivery: Destination | None,
        before_submit: Callable[[], dict[str, Any] | None] = lambda: None,
        *,
        can_submit: bool = True,
    ) -> SingleRun:
        engine = engine_of(
            context,
            SegmindModel(self.hook, self.model, self.runs_workflow, self.min_remaining_credits),
            durable=self.durable,
            on_lost_submit=self.on_lost_submit if can_submit else "fail",
            lost_submit_wait=self.lost_submit_wait,
            completed=lambda want, result: telemetry.completed(result),
        )
        return SingleRun(
            engine,
            want,
            delivery,
            before_submit,
            lambda error, request_id: telemetry.ended_badly(self.model, error, request_id=request_id),
        )

    def _prepare(self) -> Prepared:
        """Check everything that can be checked before it costs money."""
        body = self._body()
        check_inline_output(body, goes_somewhere=self._has_place)
        if self._stores and self.destination is None:
            raise SegmindConfigError("destination: a template rendered to nothing")
        shown = redacted(body.get("image"))
        source = {"sha256": shown[7:]} if str(shown).startswith("sha256:") else {"uri": shown}
        return Prepared(body=body, identity=body, input_size=data_uri_size(body.get("image")), source=source)

    def _with_input(self, prepared: Prepared, submitted: Callable[[], Iterable[RequestRecord]]) -> Prepared:
        """
        Return it with the input that is read from storage, if there is one.

        :param submitted: returns the request records of this task instance: where the input cannot be read any more,
            the request that was submitted with it is fetched without it.
        """
        return prepared

    def _check_mapped(self, map_index: int) -> None:
        """Refuse the None that a listing has put in place of one destination: it would be billed and not stored."""
        if self._given_none and map_index >= 0:
            raise SegmindConfigError(
                f"destination of the mapped task {map_index} is None: nothing would be stored",
                next_step="Nothing was sent. Give a destination, or leave the argument out to store nothing.",
            )

    def _note(self, prepared: Prepared, note: dict[str, Any]) -> dict[str, Any]:
        """Return what a resumed task will need to know of the request: it has not read the input."""
        key = note["fingerprint"][:KEY_LENGTH]
        if self.destination is None or not (self._keeps_sidecar or serves_previews() or self._on_existing == "skip"):
            return {"key": key}
        return {"key": key, **note}

    def _wait_out(self, error: SegmindRateLimitedError, started_at: float, returns: int) -> None:
        """Wait until a rate limit resets: nothing was accepted, so this uses up no retry."""
        now, deadline = time.time(), self._deadline(started_at)
        opens = opens_at(error, now)
        if opens >= deadline:
            raise error
        self.log.info("Segmind's rate limit is reached; nothing was accepted. Next submit in %.0f s", opens - now)
        if not self.deferrable:
            time.sleep(spread(opens - now))
            return
        from airflow_provider_segmind.triggers.rate_limit import SegmindRateLimitTrigger

        self.defer(
            trigger=SegmindRateLimitTrigger(self.segmind_conn_id, opens, started_at, deadline, returns, not_before()),
            method_name="execute_after_limit",
            timeout=deferral_timeout(deadline),
        )

    def _return(self, context: Context, run: SingleRun, found: Delivered | Submitted) -> dict[str, Any]:
        """Return what the task has delivered, with its links and lineage."""
        if not isinstance(found, Delivered):  # an event that came too early: its request is not finished
            raise SegmindTimeoutError("its wait ended early", request_id=found.request_id)
        value = found.value
        self.request_id = value.get("request_id")
        self.output_link = None if value.get("skipped") else value.get("output")  # it may be gone since long
        self.stored_uri = (value.get("stored") or [{}])[0].get("uri")
        self._on_success(run)
        self.emit(context, self.hook, self.task_lineage(value))
        return value

    def _on_success(self, run: SingleRun) -> None:
        """Close the request record once Airflow has reported the success: only then a clear is a new want."""
        before = self.on_success_callback or []
        self.on_success_callback = [
            *(before if isinstance(before, list | tuple) else [before]),
            lambda context: run.close(),
        ]

    # --- what people see ------------------------------------------------------------------------------------

    def _log_state(self, state: RequestState) -> None:
        self.log.info("Segmind request %s (%s) is %s", self.request_id, self.model, state)

    def on_kill(self) -> None:
        """Say what stays behind: Segmind has no cancel call."""
        if self.request_id:
            self.log.warning(
                "Killed while Segmind request %s (%s) runs. Segmind has no cancel call: it goes on, and is billed "
                "if it completes.",
                self.request_id,
                self.model,
            )
