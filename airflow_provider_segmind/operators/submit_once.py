"""Find the request that is there, or submit one. With ``submit_many.py`` the only place where money is spent."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from airflow_provider_segmind.exceptions import (
    SegmindAnswerLostError,
    SegmindError,
    SegmindInsufficientCreditsError,
    SegmindMalformedAnswerError,
    SegmindRateLimitedError,
)
from airflow_provider_segmind.hooks.gate import note_closed, noted_closed
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.ledger import Attached, Found, Ledger, Reconnector, Wanted
from airflow_provider_segmind.protocol.resume import fingerprint
from airflow_provider_segmind.retrying import RetryBudget

#: How a picture from storage goes to Segmind.
Transport = Literal["data", "upload", "presign"]

log = logging.getLogger(__name__)

#: A limit is waited out by the operator, not inside one call.
SUBMIT_BUDGET = RetryBudget(longest_reset=0.0)
#: Seconds to wait for a rate limit that does not say when it resets: limits are per minute.
LIMIT_WITHOUT_RESET = 30.0


def respect_the_limit(hook: SegmindHook) -> None:
    """Raise SegmindRateLimitedError where another task of this machine has met the limit."""
    until = noted_closed(hook.settings.gateway, hook.segmind_conn_id)
    if until:
        raise SegmindRateLimitedError(
            "another task of this machine met it", reset_at=datetime.fromtimestamp(until, UTC)
        )


def respect_the_balance(hook: SegmindHook, least: float | None) -> None:
    """
    Raise SegmindInsufficientCreditsError where the balance is too low.

    :param least: credits; None to take the connection's ``min_remaining_credits``, if it has any.
    """
    if least is None:
        least = hook.settings.min_remaining_credits
    if least is None:
        return
    balance = hook.get_credits().total
    if balance < least:
        raise SegmindInsufficientCreditsError(
            f"the balance is {balance:g} credits, min_remaining_credits asks for {least:g}: nothing was submitted"
        )


@dataclass(frozen=True)
class Prepared:
    """
    A request as far as it can be made without costing anything.

    :param body: the parameters; without ``image`` where that has to be uploaded first.
    :param identity: what tells this request from another; with an upload, the picture's own hash.
    :param upload: the picture to upload, if any.
    :param input_size: its width and height in pixels, where known.
    :param source: what a sidecar says of the input: where it lies, its hash.
    :param transport: how the picture goes, where it comes from storage: ``upload``, ``data`` or ``presign``.
    """

    body: Mapping[str, Any] = field(repr=False)
    identity: Mapping[str, Any]
    upload: bytes | None = field(default=None, repr=False)
    input_size: tuple[int, int] | None = None
    transport: Transport | None = None
    source: Mapping[str, Any] = field(default_factory=dict)

    def fingerprint(self, model: str, gateway: str) -> str:
        """Return what tells this request from another."""
        return fingerprint(model, self.identity, gateway)

    def note(self, model: str, gateway: str, submitted_at: float | None) -> dict[str, Any]:
        """Return what a sidecar says of the request before its result is known, as JSON."""
        when = None if submitted_at is None else datetime.fromtimestamp(submitted_at, UTC).isoformat(timespec="seconds")
        return {"fingerprint": self.fingerprint(model, gateway), "input": dict(self.source), "submitted_at": when}


@dataclass(frozen=True)
class SubmitOnce:
    """
    One task's way to its request.

    :param hook: talks to Segmind.
    :param ledger: what earlier tries left.
    :param model: the slug.
    :param on_lost_submit: see the operator.
    :param lost_submit_wait: see the operator (seconds).
    :param min_remaining_credits: see the operator; None to take the connection's.
    :param workflow: the slug is that of a workflow.
    """

    hook: SegmindHook
    ledger: Ledger
    model: str
    on_lost_submit: Literal["fail", "resubmit"]
    lost_submit_wait: float
    min_remaining_credits: float | None = None
    workflow: bool = False

    def find(self, prepared: Prepared) -> tuple[Found | None, Wanted]:
        """Return what an earlier try left, if anything, and the request that is wanted."""
        key = prepared.fingerprint(self.model, self.hook.settings.gateway)
        signed = prepared.transport == "presign"
        wanted = Wanted(self.model, prepared.body, key, upload=prepared.upload, signed=signed)
        entry = self.ledger.entry
        if prepared.upload is not None and entry is not None and entry.uploaded and entry.fingerprint == key:
            # The very same picture was uploaded by an earlier try.
            wanted = Wanted(self.model, {**prepared.body, "image": entry.uploaded}, key)
        return self._reconnector.find(wanted), wanted

    @property
    def _reconnector(self) -> Reconnector:
        return Reconnector(self.hook, self.ledger, on_lost_submit=self.on_lost_submit, patience=self.lost_submit_wait)

    def submit(self, prepared: Prepared, wanted: Wanted) -> Attached:
        """
        Submit, with the intention in the ledger before and the request id right after.

        :raises SegmindRateLimitedError: nothing was accepted; come back at its reset.
        """
        respect_the_limit(self.hook)
        respect_the_balance(self.hook, self.min_remaining_credits)
        uploaded = None
        body = dict(wanted.body)
        if prepared.upload is not None:
            uploaded = body.get("image") or self._upload(prepared.upload)
            body["image"] = uploaded
        wanted = replace(wanted, body=body, upload=None)
        self.hook.get_conn()  # what is wrong with the connection is said before there is an intention
        note = {"uploaded": uploaded, "transport": prepared.transport}
        found = self._attempt(wanted, note) or self._attempt(wanted, note)
        if found is None:
            raise SegmindAnswerLostError("the answers to two submits of one try were lost")
        return found

    def _attempt(self, wanted: Wanted, note: Mapping[str, str | None]) -> Attached | None:
        """Submit once; None where the answer was lost, the history does not show it, and another is wanted."""
        self.ledger.intend(wanted.fingerprint, **note)
        intended_at = time.time()
        try:
            submitted = self.hook.submit(self.model, wanted.body, workflow=self.workflow, budget=SUBMIT_BUDGET)
        except SegmindError as error:
            return self._not_submitted(error, wanted, intended_at)
        self.ledger.submitted(submitted.request_id)
        log.info("Submitted %s as Segmind request %s", self.model, submitted.request_id)
        return Attached(submitted.request_id, time.time())

    def _not_submitted(self, error: SegmindError, wanted: Wanted, intended_at: float) -> Attached | None:
        """Settle a submit that ended in an error: adopt what is there, say that it is lost, or pass the error on."""
        if isinstance(error, SegmindAnswerLostError | SegmindMalformedAnswerError):
            log.warning("%s", error)
            return self._reconnector.settle(wanted, since=intended_at, cause=error)
        self.ledger.withdraw()
        if isinstance(error, SegmindRateLimitedError):
            reset = error.wait_seconds(time.time())
            if reset:
                note_closed(self.hook.settings.gateway, self.hook.segmind_conn_id, time.time() + reset)
        raise error

    def _upload(self, picture: bytes) -> str:
        [url] = self.hook.upload([picture])
        log.info("Uploaded the input (%d bytes)", len(picture))
        return url
