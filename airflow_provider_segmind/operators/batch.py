"""SegmindBatchOperator: a thousand pictures in one task, in waves, with a manifest of what became of each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_segmind.compat import known_arguments, retry_policy_of
from airflow_provider_segmind.exceptions import (
    SegmindAnswerLostError,
    SegmindBatchError,
    SegmindConfigError,
    SegmindStorageError,
    SegmindTimeoutError,
)
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.ledger.batch import BatchLedger
from airflow_provider_segmind.lineage import TellsLineage, check_count, check_outlets
from airflow_provider_segmind.links.segmind import SegmindModelLink, SegmindStoredLink
from airflow_provider_segmind.operators.batch_folder import BatchFolder
from airflow_provider_segmind.operators.batch_items import counted, keep_moving, made_of_batch, pictures_of, take_up
from airflow_provider_segmind.operators.common import (
    check_numbers,
    check_on_lost_submit,
    check_uris,
    file_name,
    is_final,
    not_before,
    permanent_errors_fail,
    takes_our_retry_policy,
)
from airflow_provider_segmind.operators.submit_many import Picture, Wave, find_again, refresh, settle
from airflow_provider_segmind.protocol.batch import (
    BatchEvent,
    Limits,
    Memory,
    Row,
    State,
    Waited,
    digest_of,
    read_batch_event,
    summary,
)
from airflow_provider_segmind.protocol.events import error_from_dict
from airflow_provider_segmind.protocol.models import check_known
from airflow_provider_segmind.retries import SegmindRetryPolicy
from airflow_provider_segmind.storage.limits import MAX_BYTES
from airflow_provider_segmind.storage.names import check_placeholders

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

#: Seconds between the last request's own deadline and Airflow's deferral time-out.
_DEFERRAL_MARGIN = 120.0
#: Seconds after the last request's deadline for which the claim of a process that died holds.
_CLAIM_MARGIN = 300.0
#: Seconds; a rate limit is waited out for at least this long: limits are per minute.
_LEAST_PATIENCE = 300.0


class SegmindBatchOperator(TellsLineage, BaseOperator):
    """
    Run one model over many inputs in one task instance and one trigger.

    Requests are submitted in waves; between them the task is deferred and holds no worker. Every request is in the
    ledger as soon as it is known, and what became of each picture stands in a manifest (JSON Lines) beside the
    outputs: ``<task id>.manifest.jsonl``, one :class:`~airflow_provider_segmind.protocol.batch.Row` a line. A retry, a
    clear or another run with the same destination does only what is missing: what is stored is left alone, what
    runs or is paid for is fetched, what failed (which was free) is submitted again. Items with the same parameters
    are one picture. Outputs are named after their input and the beginning of the picture's key.

    Returns a JSON object (XCom) of under 4 KB: ``model``, ``manifest`` (URI), ``total``, ``stored``, ``reused`` (of
    them, those that were there already), ``failed``, ``errors`` (how often each class), ``metrics`` (``cost`` of
    this run and ``remaining_credits`` in credits), ``seconds``.

    What concerns all pictures (a refused key, missing credits, an unknown model) ends the submits: what is open is
    waited for and stored, and then the task fails with that error. One run at a time works on a manifest.

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
    :param poll_interval: seconds between two looks at one request; default: by what is known of the model.
    :param expected_duration: seconds that a request is expected to take (default: what the model's page states).
    :param durable: remember open requests in Airflow's task state store (default True), see the other operators.
    :param on_lost_submit: what to do with a submit whose answer was lost and which the request history does not show:
        ``fail`` that picture (default: a person looks) or ``resubmit``.
    :param lost_submit_wait: seconds for which the history is searched for it (default 30).
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
            not_negative={"max_failures": self.max_failures, "lost_submit_wait": self.lost_submit_wait},
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
        pictures = pictures_of(self.model, self.items, self.parameters or {}, gateway=self.hook.settings.gateway)
        folder = BatchFolder(
            self.destination,
            conn_id=self.destination_conn_id,
            name=file_name(context),
            model=self.model,
            max_bytes=self.max_bytes,
        )
        self.stored_uri = folder.manifest
        ledger = BatchLedger(context, durable=self.durable)
        left = (pictures, folder, ledger)
        memory = self._begin(*left) if event is None else self._resume(*left, event)
        ended = {waited.key: waited.event for waited in event.waited if waited.event} if event else {}
        folder.collect(self.hook, self.model, pictures, ended, owner=ledger.owner)
        wave = self._submit(pictures, ledger, memory)
        rows = [picture.row for picture in pictures]
        keep_moving(rows, memory, wave.limited, patience=max(self.timeout, _LEAST_PATIENCE))
        folder.write(rows)
        ledger.write(row for row in rows if not row.open)
        self.log.info("Batch of %s: %s", self.model, ", ".join(f"{count} {state}" for state, count in counted(rows)))
        if any(row.state is State.RUNNING for row in rows) or (
            memory.halted is None and any(row.state is State.WAITING for row in rows)
        ):
            self._defer(pictures, memory, wave.closed_until)
        folder.release()
        numbers = summary(rows, since=memory.started_at, reused=memory.reused)
        value = {"model": self.model, "manifest": folder.manifest, **numbers}
        value["seconds"] = round(time.time() - memory.started_at, 1)
        self.tell(context, self.hook, made_of_batch(value, pictures, self.parameters, owner=ledger.owner))
        return self._close(rows, value, memory)

    def _begin(self, pictures: Sequence[Picture], folder: BatchFolder, ledger: BatchLedger) -> Memory:
        """Take up what earlier tries and runs left."""
        now = time.time()
        self._claim(folder, ledger.owner)
        take_up(pictures, folder.read() or {}, ledger.rows)
        rows = [picture.row for picture in pictures]
        left = {row.request_id for row in rows if row.request_id}
        for row in rows:
            row.run_again()
        folder.miss(rows)
        check_count(self.outlets, sum(row.state is not State.STORED for row in rows))
        if ledger.blind:
            find_again(self.hook, self.model, pictures, besides=left, patience=self.lost_submit_wait)
        if any(row.state is State.WAITING for row in rows):
            folder.probe()
        settle(self.hook, self.model, pictures, on_lost_submit=self.on_lost_submit, patience=self.lost_submit_wait)
        refresh(self.hook, self.model, pictures)
        reused = sum(row.state is State.STORED for row in rows)
        return Memory(started_at=now, reused=reused, items=digest_of(row.key for row in rows), moved_at=now)

    def _resume(
        self, pictures: Sequence[Picture], folder: BatchFolder, ledger: BatchLedger, event: BatchEvent
    ) -> Memory:
        """Go on after a deferral, in another process."""
        written = folder.read()
        if written is None:
            raise SegmindStorageError(
                f"the manifest {folder.manifest} has gone since the batch began",
                next_step="Put it back, or clear the task: then the finished ones are submitted, and paid, anew.",
                retryable=False,
            )
        if event.memory.items not in ("", digest_of(picture.row.key for picture in pictures)):
            raise SegmindConfigError(
                "the items are others than before the deferral, when their templates were rendered",
                next_step=f"Make them in a task before this one. What was submitted is in {folder.manifest}.",
            )
        self._claim(folder, ledger.owner)
        take_up(pictures, written, ledger.rows)
        if event.error is not None:
            raise error_from_dict(event.error)
        rows = {picture.row.key: picture.row for picture in pictures}
        for waited in event.waited:
            row = rows.get(waited.key)
            if row is not None and row.state in (State.WAITING, State.INTENDED):  # nothing but the event remembers
                row.submitted(waited.request_id, at=waited.submitted_at)
        return event.memory

    def _claim(self, folder: BatchFolder, owner: str) -> None:
        """Let no other run work on the same manifest: both would pay for what is missing."""
        if not folder.claim(owner, until=time.time() + self.timeout + _CLAIM_MARGIN):
            raise SegmindConfigError(
                f"another run works on {folder.manifest}",
                next_step="Nothing was sent by this one: clear it once that has ended, or give each run a folder.",
            )

    def _submit(self, pictures: Sequence[Picture], ledger: BatchLedger, memory: Memory) -> Wave:
        """Submit as many as the limits allow now."""
        wave = Wave(self.hook, ledger, self.model, self.min_remaining_credits)
        waiting = [picture for picture in pictures if picture.row.state is State.WAITING]
        if self.execution_timeout and time.time() > memory.started_at + self.execution_timeout.total_seconds():
            late = SegmindTimeoutError("execution_timeout was over before all was submitted", next_step="")
            memory.halted = memory.halted or late.to_dict()
        size = Limits(self.requests_per_minute, self.max_in_flight).wave(
            [picture.row for picture in pictures], time.time()
        )
        if memory.halted is None and size and waiting:
            wave.submit(waiting[:size])
            settle(self.hook, self.model, pictures, on_lost_submit=self.on_lost_submit, patience=self.lost_submit_wait)
            tried = [picture.row for picture in waiting[:size]]
            found_all = not any(row.state is State.FAILED and row.request_id is None for row in tried)
            if wave.halted and not (isinstance(wave.halted, SegmindAnswerLostError) and found_all):
                memory.halted = wave.halted.to_dict()
        return wave

    def _defer(self, pictures: Sequence[Picture], memory: Memory, closed_until: float) -> NoReturn:
        from airflow_provider_segmind.triggers.batch import SegmindBatchTrigger

        now, rows = time.time(), [picture.row for picture in pictures]
        running = [row for row in rows if row.state is State.RUNNING]
        limits = Limits(self.requests_per_minute, self.max_in_flight)
        resume_at, need = limits.next_wave(rows, now) if memory.halted is None else (now, len(running))
        resume_at = max(resume_at, closed_until)
        deadline = max([resume_at, *((row.submitted_at or now) + self.timeout for row in running)])
        waited = [
            Waited(key=row.key, request_id=row.request_id or "", submitted_at=row.submitted_at or now)
            for row in running
        ]
        self.defer(
            trigger=SegmindBatchTrigger(
                waited=[request.model_dump(mode="json", exclude_none=True) for request in waited],
                segmind_conn_id=self.segmind_conn_id,
                model=self.model,
                timeout=self.timeout,
                need=need,
                resume_at=resume_at,
                not_before=not_before(),
                poll_interval=self.poll_interval,
                expected_duration=self.expected_duration,
                inline=any(picture.body.get("base64") is True for picture in pictures),
                memory=memory.model_dump(mode="json"),
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=max(0.0, deadline - now) + _DEFERRAL_MARGIN),
        )

    def _close(self, rows: Sequence[Row], value: dict[str, Any], memory: Memory) -> dict[str, Any]:
        """Return the batch in numbers, or fail with what ended it."""
        if memory.halted is not None:
            raise error_from_dict(memory.halted)
        failed = [row for row in rows if row.state is State.FAILED]
        if len(failed) <= self.max_failures:
            return value
        first = error_from_dict(failed[0].error or {})
        raise SegmindBatchError(
            f"{len(failed)} of {len(rows)} pictures failed, max_failures is {self.max_failures}; {value['errors']}; "
            f"the first, item {failed[0].index}: {first}",
            next_step=f"Manifest: {value['manifest']}. Another try, or a clear, does only what is missing.",
            retryable=any((row.error or {}).get("retryable") for row in failed),
        )
