"""SegmindRunModelOperator: submit once, wait, hand over. The upscalers are built on it."""

from __future__ import annotations

import random
import time
from contextlib import AbstractContextManager, closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind import telemetry
from airflow_provider_segmind.compat import retry_policy_of
from airflow_provider_segmind.exceptions import (
    SegmindConfigError,
    SegmindRateLimitedError,
    SegmindRequestExpiredError,
    SegmindTimeoutError,
)
from airflow_provider_segmind.ledger import Found, Known, Ledger, Taken, recover
from airflow_provider_segmind.operators.common import (
    check_inline_output,
    not_before,
    permanent_errors_fail,
    serves_previews,
)
from airflow_provider_segmind.operators.submit_once import LIMIT_WITHOUT_RESET, Prepared, SubmitOnce
from airflow_provider_segmind.operators.wait import DEFERRAL_MARGIN, WaitsForRequest
from airflow_provider_segmind.protocol.events import CompletedEvent, read_event, read_gate_event
from airflow_provider_segmind.protocol.presentable import presentable
from airflow_provider_segmind.protocol.waiting import Watch
from airflow_provider_segmind.storage.proof import data_uri_size

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_segmind.protocol.wire import RequestState, Result


class SegmindRunModelOperator(WaitsForRequest):
    """
    Run any Segmind model by its slug: submit, wait without a worker, hand over (and store) the result.

    Returns a JSON object (XCom): ``request_id``, ``model``, ``status``, ``output`` (URL, or null where the output
    is not a URL), ``outputs`` (``[{url, content_type, file_name, file_size}]``), ``metrics`` (``cost``,
    ``remaining_credits`` in credits; ``inference_time``, ``queue_time``, ``total_time`` in seconds) and, with a
    destination, ``stored`` (``[{uri, bytes, sha256, content_type, width, height}]``, and ``preview`` where ``[segmind]
    serve_previews`` is on, see docs/security.md). With ``wait_for_completion=False``: the request id.

    What cannot succeed on a retry (a refused key, a bad parameter, a blocked picture, …) fails the task for good;
    what may pass (the gateway in trouble, a time-out, a broken store) is left to the task's retries. Each submit
    is billed once its request completes, and Segmind has no cancel call.

    :param model: slug, the last part of the model page's address, such as ``esrgan``. (templated)
    :param parameters: the model's parameters by name; the three upscalers' are checked against their pages
        before anything is sent, any other model's are sent as they are. (templated)
    :param destination: URI of an object or a folder (ends with ``/``) in any storage that ``ObjectStoragePath``
        knows: ``file://``, ``s3://``, ``gs://``; default: nothing is stored. (templated) After rendering, ``{model}``,
        ``{stem}`` (the input's name without ending), ``{request_id}``, ``{map_index}`` and ``{ext}`` (the ending of
        what comes out, without a dot) are filled in. Two mapped tasks with the same target: the second one fails
        before it submits.
    :param destination_conn_id: Airflow connection of that storage. (templated)
    :param max_bytes: refuse to store a larger output (bytes; default 2 GiB).
    :param sidecar: write ``<object>.json`` beside the object: model, parameters, request id, cost, SHA-256 of input and
        output, times (default False). Never the key; a hash for a picture, no query of a URL.
    :param if_exists: what to do with an object that is there before a submit: ``overwrite`` (default), ``fail``
        (before anything is billed; and again right before it would be replaced), or ``skip``.
    :param skip_existing: the same as ``if_exists="skip"``: where the object and its sidecar are there, made from the
        same input with the same parameters, hand on what the sidecar says, with ``skipped: true`` and a cost of 0;
        nothing is submitted. Anything else is made, and overwritten. Writes sidecars. An ``image`` is the same where
        its URL is, an ``input_path`` where its content is.
    :param segmind_conn_id: Airflow connection; None for the key in ``SEGMIND_API_KEY``. (templated)
    :param deferrable: wait in the triggerer (default: ``[operators] default_deferrable``), else in the worker.
    :param wait_for_completion: False to return the request id right after the submit.
    :param poll_interval: seconds between two looks; default: by what is known of the model: first
        ``expected_duration`` or the time that its page states, then what its completed requests took.
    :param expected_duration: seconds that a request is expected to take (default: what the model's page states, if
        anything). It is where looking begins, not a limit.
    :param timeout: seconds for the whole run, from the start of the task (default 600, the vendor's advice).
    :param queue_timeout: seconds that the request may be QUEUED, from its submit (default: as long as ``timeout``).
    :param durable: remember the request in Airflow's task state store, so that a retry, a clear or a killed process
        finds it again instead of paying anew (default True). Before Airflow 3.3: looks in the request history.
    :param on_lost_submit: what to do where the answer to a submit was lost and the request history does not show
        it: ``fail`` (default: a person looks) or ``resubmit``.
    :param lost_submit_wait: seconds for which the history is searched for it (default 30): rows can appear late.
    :param min_remaining_credits: submit nothing while the balance is below this; default: the connection's, if any.
    :param defer_after: with ``deferrable``, first wait up to this many seconds in the worker: it spares the
        deferral where requests finish at once (default 0: defer right away).
    :param end_from_trigger: with ``deferrable`` and no destination, let the triggerer end the task once the request
        is COMPLETED, with the result as its XCom: no second worker start (default False; before Airflow 3.3 with
        ``do_xcom_push=False`` only). Airflow then skips what a worker does after ``execute``: ``post_execute``,
        listeners, OpenLineage, asset events (``outlets`` are refused) and the link to the output;
        ``on_success_callback`` runs in the DAG processor. Anything but COMPLETED resumes the task, so retries,
        callbacks and the ledger work as ever. The ledger does not learn of the success: a clear within the hour hands
        over the same result again.
    """

    # --- the run --------------------------------------------------------------------------------------------

    def execute(self, context: Context) -> Any:
        """Find the request of an earlier try or submit one, and wait: in the triggerer if ``deferrable``."""
        return self._run(context, time.time())

    def execute_after_limit(self, context: Context, event: Any = None) -> Any:
        """Go on after a rate limit that was waited out in the triggerer."""
        with self._permanent_errors_fail():
            gate = read_gate_event(event)
        return self._run(context, gate.started_at, returns=gate.returns)

    def execute_complete(self, context: Context, event: Any = None, request_id: str | None = None) -> dict[str, Any]:
        """Take over from the trigger: read its event, store the output, return the result."""
        # The event carries all that is needed: dag.test() drops the keyword arguments of a deferral (seen on 3.3.2).
        self.request_id = request_id
        self._links_of_the_output()
        with self._permanent_errors_fail():
            return self._finish(context, Ledger(context, durable=self.durable), event)

    def _permanent_errors_fail(self) -> AbstractContextManager[None]:
        return permanent_errors_fail(retry_policy_of(self))

    def _run(self, context: Context, started_at: float, *, returns: int = 0) -> Any:
        with self._permanent_errors_fail(), closing(self.hook):
            prepared = self._prepare()
            if delivery := self._delivery(context):
                delivery.check()
            ledger = Ledger(context, durable=self.durable)
            with telemetry.errors_told(self.model):
                found = self._find_or_submit(context, ledger, prepared, started_at, returns)
            if isinstance(found, Taken):
                return self._taken(context, found.value)
            if isinstance(found, Known):
                note = self._note(prepared, ledger.entry.submitted_at if ledger.entry else None)
                self._completed(ledger, found.result)
                return self._hand_over(context, ledger, found.result, prepared.input_size, note)
            self.request_id = found.request_id
            if self.do_xcom_push:
                context["ti"].xcom_push(key="request_id", value=self.request_id)
            if not self.wait_for_completion:
                ledger.hand_over(self.request_id)
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
            note = self._note(prepared, found.submitted_at)
            if event is None:
                self._defer(watch, prepared.input_size, note)
            known = {"input_size": prepared.input_size, "note": note}
            return self._finish(context, ledger, event.model_copy(update=known).payload())

    def _prepare(self) -> Prepared:
        """Check everything that can be checked before it costs money."""
        body = self._body()
        check_inline_output(body, goes_somewhere=self._has_place)
        if self._stores and self.destination is None:
            raise SegmindConfigError("destination: a template rendered to nothing")
        shown = presentable(body.get("image"))
        source = {"sha256": shown[7:]} if str(shown).startswith("sha256:") else {"uri": shown}
        return Prepared(body=body, identity=body, input_size=data_uri_size(body.get("image")), source=source)

    def _note(self, prepared: Prepared, submitted_at: float | None) -> dict[str, Any] | None:
        """Return what sidecar and preview will need to know of the input: a resumed task has not read it."""
        if self.destination is None or not (self._keeps_sidecar or serves_previews()):
            return None
        return prepared.note(self.model, self.hook.settings.gateway, submitted_at)

    def _find_or_submit(
        self, context: Context, ledger: Ledger, prepared: Prepared, started_at: float, returns: int
    ) -> Found:
        """Return the request of an earlier try, or of a submit; a rate limit is waited out here or in the triggerer."""
        once = SubmitOnce(
            hook=self.hook,
            ledger=ledger,
            model=self.model,
            on_lost_submit=self.on_lost_submit,
            lost_submit_wait=self.lost_submit_wait,
            min_remaining_credits=self.min_remaining_credits,
            workflow=self.runs_workflow,
        )
        while True:
            try:
                found, wanted = once.find(prepared)
                if found is None and time.time() >= self._deadline(started_at):
                    raise SegmindTimeoutError("nothing was submitted: the time was up at the rate limit", next_step="")
                if found is not None:
                    return found
                if delivery := self._delivery(context):
                    if (value := delivery.done(wanted.fingerprint, prepared.body)) is not None:
                        return Taken(value)
                    delivery.probe()
                return once.submit(prepared, wanted)
            except SegmindRateLimitedError as error:
                self._wait_out(error, started_at, returns)

    def _wait_out(self, error: SegmindRateLimitedError, started_at: float, returns: int) -> None:
        """Wait until a rate limit resets: nothing was accepted, so this uses up no retry."""
        now, deadline = time.time(), self._deadline(started_at)
        reset = error.wait_seconds(now)
        opens_at = now + (LIMIT_WITHOUT_RESET if reset is None else reset)
        if opens_at >= deadline:
            raise error
        self.log.info("Segmind's rate limit is reached; nothing was accepted. Next submit in %.0f s", opens_at - now)
        if not self.deferrable:
            time.sleep(opens_at - now + random.uniform(0.05, 1.5))  # noqa: S311
            return
        from airflow_provider_segmind.triggers.gate import SegmindGateTrigger

        self.defer(
            trigger=SegmindGateTrigger(self.segmind_conn_id, opens_at, started_at, deadline, returns, not_before()),
            method_name="execute_after_limit",
            timeout=timedelta(seconds=deadline - now + DEFERRAL_MARGIN),
        )

    def _taken(self, context: Context, value: Any) -> Any:
        """Hand over what an earlier try had finished with, with its link."""
        if isinstance(value, dict):
            stored = value.get("stored") or [{}]
            self.output_link = None if value.get("skipped") else value.get("output")  # it may be gone since long
            self.stored_uri = stored[0].get("uri")
            self.tell(context, self.hook, self.made_of(value))
        return value

    def _finish(self, context: Context, ledger: Ledger, payload: Any) -> dict[str, Any]:
        """Read how it ended, and hand the result over."""
        with closing(self.hook) as hook:
            with telemetry.errors_told(self.model, self.request_id):
                try:
                    event = read_event(payload, request_id=self.request_id)
                    if isinstance(event, CompletedEvent):
                        result = event.result
                    else:
                        result = hook.get_result(event.request_id, model=self.model)
                except SegmindRequestExpiredError as error:
                    found = recover(hook, ledger, self.model, error.request_id) if error.request_id else None
                    if found is None:
                        raise
                    result, input_size = found, None
                    note = payload.get("note") if isinstance(payload, dict) else None
                else:
                    input_size, note = event.input_size, event.note
            self._completed(ledger, result)
            return self._hand_over(context, ledger, result, input_size, note)

    def _completed(self, ledger: Ledger, result: Result) -> None:
        """Note the result, and tell what it cost unless an earlier try has: that one noted it then."""
        if ledger.entry is None or ledger.entry.result is None:
            telemetry.completed(result)
        if self.destination is not None:  # else what follows is the very next write
            ledger.finished(result)

    def _hand_over(
        self,
        context: Context,
        ledger: Ledger,
        result: Result,
        input_size: tuple[int, int] | None,
        note: dict[str, Any] | None,
    ) -> dict[str, Any]:
        """Store the output and return what the task hands on."""
        value = result.to_xcom()
        self.request_id, self.output_link = result.request_id, result.output
        if delivery := self._delivery(context):
            note = note or {}
            about = {**note, "parameters": presentable(self._body())} if delivery.sidecar else {}
            known = (note.get("input") or {}).get("sha256")
            stored = delivery.store(self.hook, result, at_least=input_size, about=about, input_sha256=known)
            value["stored"] = [item.to_dict() for item in stored]
            self.stored_uri = stored[0].uri
        ledger.hand_over(value)
        self.tell(context, self.hook, self.made_of(value))
        return value

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
