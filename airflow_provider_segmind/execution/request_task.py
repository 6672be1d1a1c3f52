"""
The work of a task with one request, from its arguments to what it returns.

A task starts once, and goes on in another process after each deferral. ``start`` validates, reads the input, and
delivers, reattaches or submits (:mod:`.single` and the engine decide which); ``resume`` takes the event that ended a
wait. Both return what the operator does next: return a value, or defer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind import telemetry
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindRateLimitedError, SegmindTimeoutError
from airflow_provider_segmind.execution.arguments import RequestArguments
from airflow_provider_segmind.execution.destination import Destination
from airflow_provider_segmind.execution.gateway import SegmindModel
from airflow_provider_segmind.execution.input_source import check_download, content_of, path_of, with_input
from airflow_provider_segmind.execution.record import RequestRecord
from airflow_provider_segmind.execution.single import Delivered, Prepared, SingleRun, Submitted, check_target
from airflow_provider_segmind.execution.submit import opens_at
from airflow_provider_segmind.execution.task_engine import engine_of
from airflow_provider_segmind.execution.want import Want
from airflow_provider_segmind.jitter import spread
from airflow_provider_segmind.lineage import TaskLineage, task_lineage
from airflow_provider_segmind.polling.drivers import (
    log_start,
    wait_for_request,
    with_learned_durations,
    with_progress_log,
)
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.protocol.events import Event, TimeoutEvent, read_any_event
from airflow_provider_segmind.protocol.identity import KEY_LENGTH
from airflow_provider_segmind.protocol.redaction import redacted
from airflow_provider_segmind.storage.names import stem_of
from airflow_provider_segmind.storage.verification import data_uri_size

if TYPE_CHECKING:
    from airflow_provider_segmind.execution.environment import TaskEnvironment

log = logging.getLogger(__name__)

#: Seconds by which our own deadline precedes a shorter ``execution_timeout``, so that ours is the one reported.
_EXECUTION_MARGIN = 5.0


@dataclass(frozen=True)
class Finished:
    """
    The task returns a value.

    :param value: what it returns.
    :param close: closes the request record, once Airflow has reported the success: only then is a clear a new want.
    :param lineage: inputs, outputs and request; None if nothing was delivered.
    """

    value: Any
    close: Callable[[], None]
    lineage: TaskLineage | None = None


@dataclass(frozen=True)
class WaitInTriggerer:
    """
    The task defers until its request is finished.

    :param watch: the wait.
    :param input_size: width and height of the input in pixels, where known.
    :param request_info: what the resumed task needs to know of its request.
    """

    watch: Watch
    input_size: tuple[int, int] | None
    request_info: dict[str, Any]


@dataclass(frozen=True)
class WaitForRateLimit:
    """
    The task defers until a rate limit resets; nothing was accepted, so this uses up no retry.

    :param opens_at: when it resets (epoch seconds).
    :param started_at: when the task's work began (epoch seconds).
    :param deadline: when to give up (epoch seconds).
    :param returns: how many times a submit was refused again before.
    """

    opens_at: float
    started_at: float
    deadline: float
    returns: int


NextStep = Finished | WaitInTriggerer | WaitForRateLimit


class RequestTask:
    """
    The work of a task with one request, in one process.

    :param arguments: rendered.
    :param environment: what it needs from Airflow.
    """

    def __init__(self, arguments: RequestArguments, environment: TaskEnvironment) -> None:
        self._arguments, self._environment, self._hook = arguments, environment, environment.hook
        #: The request, once there is one.
        self.request_id: str | None = None

    def start(self, started_at: float, *, returns: int = 0) -> NextStep:
        """
        Deliver what is stored or paid for, reattach to what runs, or submit; and wait.

        :param started_at: when the task's work began (epoch seconds).
        :param returns: how many times a submit was refused again before.
        :raises SegmindError: what ended the task.
        """
        prepared = self._prepare()
        while True:
            try:
                return self._run(prepared, started_at)
            except SegmindRateLimitedError as error:
                deferral = self._rate_limited(error, started_at, returns)
                if deferral is not None:
                    return deferral

    def resume(self, payload: Any, request_id: str | None) -> NextStep:
        """
        Resume after the wait in the triggerer: deliver the result that the event reports, or raise its error.

        :param payload: the event, as the trigger fired it.
        :param request_id: the request that the task waits for, where Airflow still knows it.
        :raises SegmindError: what ended the task.
        """
        with telemetry.counting_errors(self._arguments.model, request_id):
            event = read_any_event(payload, request_id=request_id)
        self.request_id = event.request_id
        info = event.request_info or {}
        if self._arguments.computed:
            self._arguments = replace(self._arguments, parameters=info.get("parameters") or {})
        self._arguments.validate_destination()
        want = Want({}, RequestRecord(key=str(info.get("key") or "")))
        run = self._single(want, self._destination(info, event.input_size))
        return self._finished(run, run.resume(event))

    # --- before the submit ------------------------------------------------------------------------------------

    def _prepare(self) -> Prepared:
        """Validate, and read, everything that costs nothing."""
        arguments = self._arguments
        body = arguments.validate_rendered(self._environment.instance.map_index)
        check_download(self._hook, body.get("image"), arguments.storage)
        shown = redacted(body.get("image"))
        source = {"sha256": shown[7:]} if str(shown).startswith("sha256:") else {"uri": shown}
        prepared = Prepared(body=body, identity=body, input_size=self._input_size(body), source=source)
        if arguments.computed:
            self._arguments = arguments = replace(arguments, parameters=body)
        durable = arguments.submit.durable
        records = self._environment.records
        return with_input(
            arguments, prepared, self._hook.settings.gateway, lambda: records(durable=durable).read().values()
        )

    def _input_size(self, body: Mapping[str, Any]) -> tuple[int, int] | None:
        """Return the size of an input inside the parameters."""
        return None if self._arguments.is_workflow else data_uri_size(self._arguments.model, body.get("image"))

    def _run(self, prepared: Prepared, started_at: float) -> NextStep:
        arguments, gateway = self._arguments, self._hook.settings.gateway
        info = prepared.request_info(arguments.model, gateway, None)
        destination = self._destination(info, prepared.input_size)
        if destination is not None:
            destination.check()
            destination.check_not_input(path_of(arguments), info["fingerprint"], prepared.body)
        run = self._single(
            prepared.want(arguments.model, gateway),
            destination,
            lambda: check_target(destination, prepared, info["fingerprint"]),
            can_submit=prepared.missing is None,
        )
        deadline = self._deadline(started_at)
        found = run.start(deadline=deadline, waits=arguments.wait.wait_for_completion)
        if isinstance(found, Delivered):
            return self._finished(run, found)
        # What the destination states of the request is complete now, so it is updated in place.
        info.update(prepared.request_info(arguments.model, gateway, found.submitted_at))
        self.request_id = found.request_id
        self._environment.push("request_id", found.request_id)
        if not arguments.wait.wait_for_completion:
            return Finished(found.request_id, run.close)
        watch = self._watch(found, deadline, prepared)
        event = self._wait_here(watch, started_at)
        if event is None:
            return WaitInTriggerer(watch, prepared.input_size, self._request_info(prepared, info))
        return self._finished(run, run.resume(event))

    def _single(
        self,
        want: Want,
        destination: Destination | None,
        before_submit: Callable[[], dict[str, Any] | None] = lambda: None,
        *,
        can_submit: bool = True,
    ) -> SingleRun:
        arguments, submit = self._arguments, self._arguments.submit
        segmind = SegmindModel(self._hook, arguments.model, arguments.is_workflow, submit.min_remaining_credits)
        engine = engine_of(
            self._environment,
            segmind,
            submit if can_submit else replace(submit, on_lost_submit="fail"),
            lambda want, result: telemetry.completed(result),
        )
        return SingleRun(
            engine,
            want,
            destination,
            before_submit,
            lambda error, request_id: telemetry.ended_badly(arguments.model, error, request_id=request_id),
        )

    def _destination(self, info: Mapping[str, Any], input_size: tuple[int, int] | None) -> Destination | None:
        """Return where the output is stored, if it is; ``info`` is what is known of the request."""
        arguments, storage = self._arguments, self._arguments.storage
        if storage.destination is None:
            return None
        return Destination(
            hook=self._hook,
            instance=self._environment.instance,
            options=storage,
            model=arguments.model,
            source=arguments.source(),
            claim=self._environment.claim,
            serves_previews=self._environment.serves_previews,
            stem=info.get("stem"),
            read_input=lambda: content_of(arguments, self._hook),
            request_info=info,
            input_size=input_size,
            named=arguments.is_workflow,
        )

    # --- the wait ---------------------------------------------------------------------------------------------

    def _deadline(self, started_at: float) -> float:
        """Return when to give up (epoch seconds): our own timeout, before Airflow's for the whole task."""
        timeout, limit = self._arguments.wait.timeout, self._environment.execution_timeout
        if limit is not None:
            timeout = min(timeout, max(0.5 * limit, limit - _EXECUTION_MARGIN))
        return started_at + timeout

    def _watch(self, found: Submitted, deadline: float, prepared: Prepared) -> Watch:
        wait = self._arguments.wait
        return Watch(
            request_id=found.request_id,
            model=self._arguments.model,
            submitted_at=found.submitted_at,
            deadline=deadline,
            poll_interval=wait.poll_interval,
            expected_duration=wait.expected_duration,
            queue_timeout=wait.queue_timeout,
            inline=prepared.body.get("base64") is True,
        )

    def _wait_here(self, watch: Watch, started_at: float) -> Event | None:
        """Wait in this process and return the event that ends the wait; None if the triggerer has to wait."""
        wait, watch = self._arguments.wait, with_progress_log(watch, log.info)
        if not wait.deferrable:
            log_start(watch, log.info, "in this worker")
            return wait_for_request(self._hook, watch)
        deadline = min(watch.deadline, started_at + wait.defer_after)
        now = self._environment.clock.now()
        if now + with_learned_durations(watch, self._hook.segmind_conn_id).first_poll(now) > deadline:
            return None  # the first poll would come later: nothing to wait for here
        event = wait_for_request(self._hook, replace(watch, deadline=deadline))
        return None if isinstance(event, TimeoutEvent) and deadline < watch.deadline else event

    def _request_info(self, prepared: Prepared, info: dict[str, Any]) -> dict[str, Any]:
        """Return what a resumed task needs to know of its request: it has not read the input."""
        arguments = self._arguments
        needed: dict[str, Any] = {"key": info["fingerprint"][:KEY_LENGTH]}
        if arguments.storage.destination is not None:  # a sidecar states it, and the input is compared as submitted
            needed |= info
        if arguments.computed:
            stem = stem_of(arguments.source(), otherwise=self._environment.instance.task_id)
            needed |= {"parameters": info["parameters"], "stem": stem}
        return needed

    def _rate_limited(self, error: SegmindRateLimitedError, started_at: float, returns: int) -> WaitForRateLimit | None:
        """Wait until a rate limit resets, in this process, or return the deferral that does."""
        now, deadline = self._environment.clock.now(), self._deadline(started_at)
        opens = opens_at(error, now)
        if opens >= deadline:
            raise error
        log.info("Segmind's rate limit is reached; nothing was accepted. Next submit in %.0f s", opens - now)
        if self._arguments.wait.deferrable:
            return WaitForRateLimit(opens, started_at, deadline, returns)
        self._environment.clock.sleep(spread(opens - now))
        return None

    # --- what is returned ---------------------------------------------------------------------------------------

    def _finished(self, run: SingleRun, found: Delivered | Submitted) -> Finished:
        if not isinstance(found, Delivered):  # an event that came too early: its request is not finished
            raise SegmindTimeoutError(
                "the wait ended before the request did",
                request_id=found.request_id,
                next_step="Another try reattaches to the request.",
            )
        self.request_id = found.value.get("request_id")
        return Finished(found.value, run.close, lineage_of(self._arguments, found.value))


def lineage_of(arguments: RequestArguments, value: Mapping[str, Any]) -> TaskLineage:
    """
    Return the lineage of a task: inputs, outputs and request.

    :param arguments: rendered.
    :param value: what the task returns, or as much of it as is known.
    """
    try:
        parameters = _body_of(arguments)
    except SegmindConfigError:  # why the task failed, perhaps
        parameters = {}
    return task_lineage(value, parameters, inputs=[arguments.source()])


def _body_of(arguments: RequestArguments) -> dict[str, Any]:
    """Return the body; what a task has computed before a deferral is known as its event states it."""
    return dict(arguments.parameters or {}) if arguments.computed else arguments.body()
