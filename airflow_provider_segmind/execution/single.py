"""The run of a task with one request: a batch of one, whose errors are the task's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from airflow_provider_segmind.exceptions import SegmindError, SegmindRequestExpiredError, SegmindTimeoutError
from airflow_provider_segmind.execution.engine import Engine
from airflow_provider_segmind.execution.ports import Storage
from airflow_provider_segmind.execution.record import RequestRecord, State
from airflow_provider_segmind.execution.want import Want
from airflow_provider_segmind.protocol.events import Event
from airflow_provider_segmind.protocol.identity import fingerprint, key_of
from airflow_provider_segmind.protocol.redaction import redacted

log = logging.getLogger(__name__)


class Target(Protocol):
    """Where the output is to be stored, before anything is submitted: see :class:`.destination.Destination`."""

    def existing(self, fingerprint: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what is stored already, if that is to be skipped."""

    def probe(self) -> None:
        """Make sure that the target can be written."""


@dataclass(frozen=True)
class Prepared:
    """
    A request as far as it can be made without costing anything.

    :param body: the parameters; without ``image`` where that has to be read, or uploaded, first.
    :param identity: what identifies this request; with an input that was read, the hash of the image.
    :param upload: the image to upload, if any.
    :param input_size: its width and height in pixels, where known.
    :param source: what a sidecar states of the input: its URI, its hash.
    :param missing: why the input could not be read. Then nothing can be submitted, only fetched.
    """

    body: Mapping[str, Any] = field(repr=False)
    identity: Mapping[str, Any]
    upload: bytes | None = field(default=None, repr=False)
    input_size: tuple[int, int] | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    missing: SegmindError | None = None

    def of(self, source: Mapping[str, Any]) -> Prepared:
        """Return it with an input from storage, of which this is known."""
        return replace(
            self,
            identity={**self.body, "image_sha256": source["sha256"]},
            input_size=(source["width"], source["height"]),
            source=source,
        )

    @property
    def _is_from_storage(self) -> bool:
        """True if the input was read from storage."""
        return "sha256" in self.source and "uri" in self.source

    def fingerprint(self, model: str, gateway: str) -> str:
        """Return what identifies this request."""
        return fingerprint(model, self.identity, gateway)

    def want(self, model: str, gateway: str) -> Want:
        """Return the want."""
        read = dict(self.source) if self._is_from_storage else None
        record = RequestRecord(key=key_of(model, self.identity, gateway), input=read)
        return Want(self.body, record, upload=self.upload)

    def request_info(self, model: str, gateway: str, submitted_at: float | None) -> dict[str, Any]:
        """Return what a sidecar states of the request before its result is known, as JSON."""
        when = None if submitted_at is None else datetime.fromtimestamp(submitted_at, UTC).isoformat(timespec="seconds")
        hidden = ("image",) if self._is_from_storage else ()  # that is the address of an upload, or base64
        return {
            "fingerprint": self.fingerprint(model, gateway),
            "input": dict(self.source),
            "parameters": redacted({name: value for name, value in self.body.items() if name not in hidden}),
            "submitted_at": when,
        }


def submitted_before(
    records: Iterable[RequestRecord], prepared: Prepared, uri: str, model: str, gateway: str, why: SegmindError
) -> Prepared:
    """
    Return the request that was submitted with an input that cannot be read any more: it is paid for.

    :param records: of the task instance, the latest last.
    :param prepared: the parameters.
    :param uri: the input's.
    :param why: why the input cannot be read; raised if no such request is found.
    """
    for record in reversed(list(records)):
        if not record.paid or record.input is None or record.input.get("uri") != uri:
            continue
        found = prepared.of(record.input)
        if key_of(model, found.identity, gateway) == record.key:
            log.warning("%s Request %s was submitted with it before: it is fetched without it", why, record.request_id)
            return replace(found, missing=why)
    raise why


@dataclass(frozen=True)
class Delivered:
    """The task returns this."""

    value: dict[str, Any]


@dataclass(frozen=True)
class Submitted:
    """The request is to be waited for."""

    request_id: str
    submitted_at: float


class SingleRun:
    """
    One run of one want, in one process.

    :param engine: the engine.
    :param want: the want.
    :param storage: where its output goes; None for nowhere.
    :param before_submit: called right before a submit; what it returns is returned by the task instead.
    :param report: called with an error that ended the request for this task, and its request id.
    """

    def __init__(
        self,
        engine: Engine,
        want: Want,
        storage: Storage | None,
        before_submit: Callable[[], dict[str, Any] | None] = lambda: None,
        report: Callable[[SegmindError, str | None], None] = lambda error, request_id: None,
    ) -> None:
        self._engine, self._want, self._storage = engine, want, storage
        self._before_submit, self._report = before_submit, report

    def start(self, *, deadline: float, waits: bool = True) -> Delivered | Submitted:
        """
        Deliver what is stored or paid for, reattach to a running request, or submit.

        :param deadline: submit nothing after this moment (epoch seconds).
        :param waits: False where the task returns the request id, and delivers nothing.
        :raises SegmindRateLimitedError: nothing was accepted; start again when the limit is over.
        """
        want, engine = self._want, self._engine
        is_late = engine.clock.now() >= deadline  # a search for lost submits may take longer than the timeout
        engine.load_records([want])
        engine.log_earlier([want])
        if waits:
            engine.still_delivered(want, self._storage)
        engine.prepare([want])
        self._raise()
        if waits and (delivered := self._deliver()):
            return delivered
        if want.record.state is State.WAITING:
            if is_late:
                raise SegmindTimeoutError(
                    "the task's timeout ended before the rate limit was reset; nothing was submitted",
                    next_step="Allow a longer timeout, or more retries.",
                )
            if (done := self._before_submit()) is not None:
                return Delivered(done)
            engine.submit([want])
            self._raise()
        return self._submitted()

    def resume(self, event: Event) -> Delivered | Submitted:
        """Resume after a wait: deliver the result that the event reports, or raise its error."""
        if not self._want.loaded:
            self._engine.load_records([self._want], begins=False)
        self._engine.ended(self._want, event)
        self._raise()
        if delivered := self._deliver():
            return delivered
        return self._submitted()

    def close(self) -> None:
        """Record that Airflow has reported the success of the task: a clear is a new want."""
        if self._want.record.state in (State.SUBMITTED, State.COMPLETED, State.DELIVERED):
            self._want.record.close()
            self._engine.records.put([self._want.record])

    def _deliver(self) -> Delivered | None:
        want = self._want
        if want.record.state is State.COMPLETED:
            self._engine.deliver([want], self._storage)
            self._raise()
        return Delivered(want.record.value) if want.record.state is State.DELIVERED else None

    def _submitted(self) -> Submitted:
        record = self._want.record
        if record.request_id is None:  # a resumed process has no body to submit
            raise SegmindRequestExpiredError(
                "the request failed or expired, and this process does not have the input to submit it again",
                next_step="The next try of the task submits again.",
                retryable=True,
            )
        return Submitted(record.request_id, record.submitted_at or self._engine.clock.now())

    def _raise(self) -> None:
        if error := self._want.error or self._engine.stopped:
            if self._want.record.result is None:
                self._report(error, self._want.record.request_id)
            raise error


def check_target(target: Target | None, prepared: Prepared, fingerprint: str) -> dict[str, Any] | None:
    """
    Check right before a submit what can be checked then.

    :return: what is stored already, if that is to be skipped.
    :raises SegmindError: the input is missing, or the destination cannot be written.
    """
    if prepared.missing is not None:
        raise prepared.missing
    if target is None:
        return None
    if (value := target.existing(fingerprint, prepared.body)) is not None:
        return value
    target.probe()
    return None
