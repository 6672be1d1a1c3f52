"""Submit wants. This is the only module that spends money."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from airflow_provider_segmind.exceptions import (
    SegmindConnectionError,
    SegmindError,
    SegmindGatewayError,
    SegmindInvalidRequestError,
    SegmindMalformedResponseError,
    SegmindRateLimitedError,
    SegmindRequestError,
    SegmindServerError,
    SegmindUnknownOutcomeError,
)
from airflow_provider_segmind.execution.ports import Clock, Records, Segmind
from airflow_provider_segmind.execution.record import State
from airflow_provider_segmind.execution.want import Want
from airflow_provider_segmind.protocol.history import POST_WITHIN, key_of_inputs
from airflow_provider_segmind.protocol.lifetimes import AT_ONCE

log = logging.getLogger(__name__)

#: Seconds after each wave of one run; there are as many waves at most.
_PAUSES = (2.0, 8.0, None)
#: Errors of one want that do not concern the others.
_OWN_ERRORS = (SegmindInvalidRequestError, SegmindRequestError)
#: After these errors the submit is repeated in the same run; after a 5xx only once the history was searched.
_TRANSIENT = (SegmindConnectionError, SegmindServerError, SegmindGatewayError)
#: Seconds to wait for a rate limit without a reset time: limits are per minute.
_LIMIT_WITHOUT_RESET = 30.0


def opens_at(error: SegmindRateLimitedError, now: float) -> float:
    """Return when a rate limit ends (epoch seconds).

    :param error: the rate limit.
    :param now: the time (epoch seconds).
    """
    reset = error.wait_seconds(now)
    return now + (_LIMIT_WITHOUT_RESET if reset is None else reset)


class Submitter:
    """
    Submit the wants of one task instance.

    :param segmind: port to the model at Segmind.
    :param records: port to the request records.
    :param clock: port to the time.
    :param model: the slug.
    :param recall: reattaches wants to requests without a record.
    :param resolve_outcomes: resolves the unknown outcomes among wants.

    ``limited`` is the rate limit that ended the submits, ``halted`` any other error that ended them for all wants.
    """

    def __init__(
        self,
        segmind: Segmind,
        records: Records,
        clock: Clock,
        model: str,
        recall: Callable[[Sequence[Want]], None],
        resolve_outcomes: Callable[[Sequence[Want]], None],
    ) -> None:
        self._segmind, self._records, self._clock, self._model = segmind, records, clock, model
        self._recall, self._resolve_outcomes = recall, resolve_outcomes
        self._refusals: dict[str, SegmindError] = {}
        self._taken_over: set[str] = set()
        self.limited: SegmindRateLimitedError | None = None
        self.halted: SegmindError | None = None

    def submit(self, wants: Sequence[Want]) -> None:
        """
        Submit the wants that are WAITING.

        Afterwards each is SUBMITTED, has an ``error``, or is WAITING because ``limited`` or ``halted`` is set.
        """
        refused_group: Sequence[Want] = ()
        for pause in _PAUSES:
            if not (self.limited or self.halted):
                self._recall(wants)  # the last round may have given some up
            waiting = [want for want in wants if want.record.state is State.WAITING and want.error is None]
            if not waiting or self.limited or self.halted:
                return
            refused_group = self._wave(waiting)
            self._before_another(wants, pause)
            self._resolve_outcomes(wants)
            if refused_group and all(want.error is not None and want.record.doubt == "lost" for want in refused_group):
                self._stop(refused_group[0].error or SegmindGatewayError())  # none of them could be resolved
        for want in wants:
            if want.record.state is State.WAITING and want.record.key in self._refusals:
                want.error = self._refusals[want.record.key]
        self._judge(refused_group)

    def _before_another(self, wants: Sequence[Want], pause: float | None) -> None:
        """
        Wait before submits that got a 5xx are searched for and repeated.

        :param wants: of this run.
        :param pause: seconds; None after the last wave: then the next try searches, when the history is up to date.
        """
        refused = [want for want in wants if want.record.state is State.INTENDED and want.record.doubt == "error"]
        if pause is None:
            for want in refused:
                want.error = self._refusals.get(want.record.key)
        elif not (self.limited or self.halted) and (
            refused or any(want.record.state is State.WAITING and want.error is None for want in wants)
        ):
            self._clock.sleep(pause)

    def _judge(self, refused_group: Sequence[Want]) -> None:
        """Stop if the last wave ended with a group that was refused as a whole: then the wants are not the cause."""
        errors = [want.error for want in refused_group if want.error is not None]
        if not errors or len(errors) < len(refused_group):
            return
        if len(refused_group) == AT_ONCE or not any(isinstance(error, SegmindServerError) for error in errors):
            self._stop(errors[0])

    def _wave(self, wants: Sequence[Want]) -> Sequence[Want]:
        """Submit wants in groups; end at a group of which none was accepted and return it, else return ()."""
        try:
            self._segmind.open()
            self._upload(wants)
        except SegmindError as error:
            self._stop(error)
            return ()
        for start in range(0, len(wants), AT_ONCE):
            group = wants[start : start + AT_ONCE]
            self._send(group)
            if self.limited or self.halted:
                return ()
            if not any(want.record.state is State.SUBMITTED or want.error for want in group):
                return group  # the wants are not the cause
        return ()

    def _upload(self, group: Sequence[Want]) -> None:
        for want in group:
            if want.upload is not None and not want.record.uploaded:
                want.record.uploaded = self._segmind.upload(want.upload)

    def _send(self, group: Sequence[Want]) -> None:
        """Write the intents, send the POSTs, and write each response as it arrives."""
        now = self._clock.now()
        for want in group:
            sent = key_of_inputs(want.sent())
            want.record.intend(at=now, skew=self._segmind.skew, mark=self._segmind.mark(), sent=sent)
        self._records.put(want.record for want in group)

        def responded(number: int, response: str | SegmindError) -> None:
            self._responded(group[number], response)
            if group[number].record.key not in self._taken_over:
                self._records.put([group[number].record])

        def may_leave(number: int) -> SegmindError | None:
            mark = group[number].record.mark
            if mark is not None and not self._segmind.take(mark):
                self._taken_over.add(group[number].record.key)
                return SegmindConnectionError("the submit was not sent: another try has taken over the request")
            if self._clock.now() > now + POST_WITHIN:
                return SegmindConnectionError(f"the submit was not sent within {POST_WITHIN:g} s of its intent")
            return None

        self._segmind.submit([want.sent() for want in group], may_leave=may_leave, responded=responded)

    def _responded(self, want: Want, response: str | SegmindError) -> None:
        record = want.record
        if isinstance(response, str):
            record.submitted(response, at=self._clock.now())
            log.info("Submitted %s as Segmind request %s", self._model, response)
            return
        log.warning("%s", response)
        if isinstance(response, SegmindUnknownOutcomeError | SegmindMalformedResponseError):
            return  # the record stays INTENDED: an unknown outcome
        if isinstance(response, SegmindServerError | SegmindGatewayError):
            record.errored()
        else:
            record.withdraw()
        if record.key in self._taken_over:  # Airflow considers this process dead
            self._stop(response)
        elif isinstance(response, _TRANSIENT):
            self._refusals[record.key] = response
        elif isinstance(response, _OWN_ERRORS):
            want.error = response
        else:
            self._stop(response)

    def _stop(self, error: SegmindError) -> None:
        if isinstance(error, SegmindRateLimitedError):
            self.limited = error
        else:
            self.halted = error
            log.error("No more submits in this run: %s", error)
