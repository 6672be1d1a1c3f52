"""Submit wants: the only place where money is spent."""

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

#: Seconds between the waves of one run, of which there are so many at most.
_PAUSES = (2.0, 8.0, None)
#: What is wrong with one want, and says nothing of the others. A 500 often is a parameter's fault.
_ITS_OWN = (SegmindInvalidRequestError, SegmindRequestError)
#: After these the submit is repeated in the same run, a 5xx once the history was asked.
_PASSING = (SegmindConnectionError, SegmindServerError, SegmindGatewayError)
#: Seconds to wait for a rate limit that does not say when it resets: limits are per minute.
_LIMIT_WITHOUT_RESET = 30.0


def opens_at(error: SegmindRateLimitedError, now: float) -> float:
    """Return when a rate limit is over (epoch seconds): limits that do not say so are per minute."""
    reset = error.wait_seconds(now)
    return now + (_LIMIT_WITHOUT_RESET if reset is None else reset)


class Submitter:
    """
    Submit the wants of one task instance.

    :param recall: reattaches to what no record holds.
    :param settle: resolves the unknown outcomes among wants.

    ``limited`` is the rate limit that ended the submits, ``halted`` the error that concerns all wants.
    """

    def __init__(
        self,
        segmind: Segmind,
        records: Records,
        clock: Clock,
        model: str,
        recall: Callable[[Sequence[Want]], None],
        settle: Callable[[Sequence[Want]], None],
    ) -> None:
        self._segmind, self._records, self._clock, self._model = segmind, records, clock, model
        self._recall, self._settle = recall, settle
        self._refusals: dict[str, SegmindError] = {}
        self._taken_over: set[str] = set()
        self.limited: SegmindRateLimitedError | None = None
        self.halted: SegmindError | None = None

    def submit(self, wants: Sequence[Want]) -> None:
        """
        Submit the wants that are WAITING.

        Afterwards each is SUBMITTED, has an ``error``, or is WAITING because ``limited`` or ``halted`` ended it all.
        """
        struck: Sequence[Want] = ()
        for pause in _PAUSES:
            if not (self.limited or self.halted):
                self._recall(wants)  # some may have been given up only now
            waiting = [want for want in wants if want.record.state is State.WAITING and want.error is None]
            if not waiting or self.limited or self.halted:
                return
            struck = self._wave(waiting)
            self._before_another(wants, pause)
            self._settle(wants)
            if struck and all(want.error is not None and want.record.doubt == "lost" for want in struck):
                self._stop(struck[0].error or SegmindGatewayError())  # not one of them could be resolved
        for want in wants:
            if want.record.state is State.WAITING and want.record.key in self._refusals:
                want.error = self._refusals[want.record.key]
        self._judge(struck)

    def _before_another(self, wants: Sequence[Want], pause: float | None) -> None:
        """
        Wait before what was answered by a 5xx is looked for and sent again.

        :param pause: seconds; None after the last wave: the next try looks for it, later and with better success.
        """
        refused = [want for want in wants if want.record.state is State.INTENDED and want.record.doubt == "error"]
        if pause is None:
            for want in refused:
                want.error = self._refusals.get(want.record.key)
        elif not (self.limited or self.halted) and (
            refused or any(want.record.state is State.WAITING and want.error is None for want in wants)
        ):
            self._clock.sleep(pause)

    def _judge(self, struck: Sequence[Want]) -> None:
        """Stop where the last wave ended with a group that was refused as a whole: the wants are not the cause."""
        errors = [want.error for want in struck if want.error is not None]
        if not errors or len(errors) < len(struck):
            return
        if len(struck) == AT_ONCE or not any(isinstance(error, SegmindServerError) for error in errors):
            self._stop(errors[0])

    def _wave(self, wants: Sequence[Want]) -> Sequence[Want]:
        """Submit these, and return the group that ended the wave because none of it was accepted; () where none did."""
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
                return group  # then the wants are not the cause
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
                return SegmindConnectionError("it was not sent: another try has taken it over")
            if self._clock.now() > now + POST_WITHIN:
                return SegmindConnectionError("it was not sent: too much time had passed since its intent")
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
            return  # it stays INTENDED: an unknown outcome
        if isinstance(response, SegmindServerError | SegmindGatewayError):
            record.errored()
        else:
            record.withdraw()
        if record.key in self._taken_over:  # Airflow took this process for dead
            self._stop(response)
        elif isinstance(response, _PASSING):
            self._refusals[record.key] = response
        elif isinstance(response, _ITS_OWN):
            want.error = response
        else:
            self._stop(response)

    def _stop(self, error: SegmindError) -> None:
        if isinstance(error, SegmindRateLimitedError):
            self.limited = error
        else:
            self.halted = error
            log.error("Nothing more is submitted: %s", error)
