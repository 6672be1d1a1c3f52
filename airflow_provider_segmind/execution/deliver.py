"""Delivery: store the outputs of completed requests, and detect missing outputs. Where to: ``destination.py``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from airflow_provider_segmind.exceptions import SegmindDownloadError, SegmindError
from airflow_provider_segmind.execution.ports import Clock, Records, Storage
from airflow_provider_segmind.execution.record import State
from airflow_provider_segmind.execution.recover import Recovery
from airflow_provider_segmind.execution.want import Want
from airflow_provider_segmind.protocol.lifetimes import OUTPUT_LIVES, RECORD_SURE

log = logging.getLogger(__name__)

#: Seconds for which an output has to be refused until it counts as missing, once its record has expired: a new output,
#: and one behind a failing proxy, may be refused for a while.
_REFUSED_FOR = 900.0
#: Statuses for an output that the host does not have, or does not have yet.
_REFUSALS = (401, 403, 404, 410)
#: Outputs that are stored before their records are written.
_GROUP_SIZE = 16


class Deliverer:
    """Deliver the results of completed requests."""

    def __init__(self, records: Records, clock: Clock, recovery: Recovery) -> None:
        self._records, self._clock, self._recovery = records, clock, recovery

    def deliver(self, wants: Sequence[Want], storage: Storage | None, *, by: str | None = None) -> None:
        """
        Store the outputs of the COMPLETED wants, if there is a storage, and mark them as delivered.

        Afterwards each is DELIVERED, or WAITING if its output is missing, or has an ``error``.

        :param wants: of the task instance.
        :param storage: where the outputs are stored; None to return the results only.
        :param by: the task instance, for the records.
        """
        completed = [want for want in wants if want.record.state is State.COMPLETED and want.error is None]
        if completed and storage is not None:
            self._records.put(want.record for want in completed)
        for start in range(0, len(completed), _GROUP_SIZE):
            group = completed[start : start + _GROUP_SIZE]
            for want in group:
                want.guarded(self._recovery.output)
            ready = [want for want in group if want.record.state is State.COMPLETED and want.error is None]
            self._store(ready, storage, by)
            self._records.put(want.record for want in group)

    def _store(self, wants: Sequence[Want], storage: Storage | None, by: str | None) -> None:
        destination = None if storage is None else storage.destination

        def stored(number: int, outcome: list[dict[str, Any]] | SegmindError | None) -> None:
            want = wants[number]
            want.result = None  # an inline output has megabytes
            if not isinstance(outcome, SegmindError):
                want.record.delivered(outcome, at=self._clock.now(), by=by, to=destination)
            elif isinstance(outcome, SegmindDownloadError) and outcome.status in _REFUSALS:
                self._refused(want, outcome)
            else:
                want.error = outcome

        if storage is None:
            for number, want in enumerate(wants):
                if self._recovery.age(want.record) > OUTPUT_LIVES:  # its URL has expired
                    self._missing(want)
                else:
                    stored(number, None)
            return
        results = [(want, want.result) for want in wants]
        storage.store([(want.record.key, result) for want, result in results if result is not None], stored)

    def _refused(self, want: Want, error: SegmindDownloadError) -> None:
        """Treat an output as missing only if it was refused in two tries and its record has expired."""
        record, now = want.record, self._clock.now()
        age, since = self._recovery.age(record), record.refused_at
        if since is not None and now - since > _REFUSED_FOR and age > RECORD_SURE:
            self._missing(want)
            return
        record.refused(at=now)
        error.retryable = True
        error.next_step = f"The request is {age:.0f} s old; another try asks for its output again."
        want.error = error

    def _missing(self, want: Want) -> None:
        log.warning("The output of request %s is missing: submitting and paying again", want.record.request_id)
        want.record.withdraw()

    def check(self, want: Want, storage: Storage | None) -> None:
        """Check the stored objects of an earlier try: if one is missing, or elsewhere, its output is fetched again."""
        record = want.record
        if record.state is not State.DELIVERED:
            return
        if storage is not None:
            if record.stored is None or record.destination != storage.destination or not storage.has(record.stored):
                record.undelivered()
        elif self._recovery.age(record) > OUTPUT_LIVES:
            self._missing(want)
        self._records.put([record])
