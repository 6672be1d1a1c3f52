"""A task instance through its tries: the real engine over the emulator, a dict and a clock that can be moved."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_segmind.exceptions import SegmindRequestExpiredError
from airflow_provider_segmind.execution import marks
from airflow_provider_segmind.execution.engine import Engine
from airflow_provider_segmind.execution.gateway import SegmindModel
from airflow_provider_segmind.execution.record import RequestRecord
from airflow_provider_segmind.execution.single import Prepared, SingleRun
from airflow_provider_segmind.execution.store import STORE_KEY, TaskStateRecords
from airflow_provider_segmind.execution.want import Rules, Want
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.protocol.events import CompletedEvent, event_for
from airflow_provider_segmind.protocol.models import request_body

MODEL, GATEWAY = "esrgan", "https://gateway.example"
HOUR, DAY = 3600.0, 24 * 3600.0


class KilledError(BaseException):
    """The process ends here."""


class Store(dict[str, Any]):
    """Airflow's task state store as far as the records use it; the real one is used by tests/chaos."""

    retention: Any = None

    def set(self, key, value, *, retention=None):
        self[key], self.retention = json.loads(json.dumps(value)), retention

    def delete(self, key):
        self.pop(key, None)


class Clock:
    """The engine's clock: moves with the emulator's, and a sleep takes no time."""

    def __init__(self, emulator):
        self.emulator, self.slept = emulator, []

    def now(self):
        return self.emulator.state.clock.now() - self.emulator.settings.clock_skew

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.emulator.advance(seconds)


class Port:
    """The real port, with what a test puts in the place of single methods, and a list of what was called."""

    def __init__(self, real, **instead):
        self._real, self._instead, self.calls = real, instead, []

    def __getattr__(self, name):
        found = self._instead.get(name) or getattr(self._real, name)
        if not callable(found):
            return found

        def called(*args, **kwargs):
            self.calls.append(name)
            return found(*args, **kwargs)

        return called


class Task:
    """One task instance. Each :meth:`run` is the run of another process, which remembers nothing but the store."""

    def __init__(self, emulator, image):
        self.emulator, self.clock = emulator, Clock(emulator)
        self.store: Store | None = Store()
        self.model, self.least = MODEL, None
        self.body, self.upload, self.identity = request_body(MODEL, {"image": image}), None, None
        self.try_number, self.on_lost_submit, self.lost_submit_wait = 0, "fail", 3.0
        self.instead: dict[str, Any] = {}
        self.owner = "d r t -1"
        self.hook = SegmindHook()
        self.hook.get_conn()._clock = self.clock.now
        self.began_at = self.clock.now()

    # --- one process ------------------------------------------------------------------------------------------

    def engine(self, *, batch=False):
        self.try_number += 1
        rules = Rules(
            self.model,
            on_lost_submit=self.on_lost_submit,
            lost_submit_wait=self.lost_submit_wait,
            ran_before=self.try_number > 1,
            owner=self.owner,
            try_number=self.try_number,
            began_at=self.began_at,
        )
        self.port = Port(SegmindModel(self.hook, self.model, min_remaining_credits=self.least), **self.instead)
        return Engine(self.port, TaskStateRecords(self.store, batch=batch), self.clock, rules)

    def want(self):
        return Prepared(body=self.body, identity=self.identity or self.body, upload=self.upload).want(
            self.model, GATEWAY
        )

    def run(self, storage=None, want=None):
        return SingleRun(self.engine(), want or self.want(), storage)

    def start(self, storage=None, **kwargs):
        return self.run(storage).start(deadline=self.clock.now() + 600, **kwargs)

    def resume(self, event, storage=None):
        """Go on in another process of the same try."""
        self.try_number -= 1
        return self.run(storage).resume(event)

    def submit(self):
        """Return the id of the request that a first try submits."""
        return self.start().request_id

    def die(self, at, *, same_machine=False):
        """Let the next process die when it calls this method of the port; the next one runs on another machine."""

        def killed(*args, **kwargs):
            if at == "submit" and not same_machine:  # where its mark is not known
                assert marks.take(self.left["mark"])
            raise KilledError

        self.instead = {at: killed}
        with pytest.raises(KilledError):
            self.start()
        self.instead = {}

    # --- what was left ----------------------------------------------------------------------------------------

    @property
    def left(self):
        """The newest record in the store, as data."""
        return None if self.store is None or not self.store else self.store[STORE_KEY][-1]

    # --- events -----------------------------------------------------------------------------------------------

    def completed(self, request_id):
        self.emulator.state.wait_for_pixels()
        return CompletedEvent(request_id=request_id, result=self.hook.get_result(request_id, model=self.model))

    @staticmethod
    def expired(request_id):
        return event_for(SegmindRequestExpiredError("unknown", request_id=request_id), request_id=request_id)

    @property
    def accepted(self):
        return self.emulator.stats.submits_accepted


class Shelf:
    """A storage port: keeps which results were stored, or refuses them."""

    destination = "mem://"

    def __init__(self, error=None):
        self.stored, self.there, self.error, self.groups = [], True, error, []

    def store(self, results, stored):
        self.groups.append(len(results))
        for number, (key, result) in enumerate(results):
            if self.error is not None:
                stored(number, self.error())
                continue
            self.stored.append(result.request_id)
            stored(number, [{"uri": f"mem://{key}.png", "bytes": 1}])

    def has(self, stored):
        return self.there


def wants_of(bodies):
    """Return wants of a batch."""
    made = [Prepared(body=body, identity=body).want(MODEL, GATEWAY) for body in bodies]
    return [
        Want(want.body, RequestRecord(key=want.record.key, index=index), name=f"{index}-{want.record.key[:8]}")
        for index, want in enumerate(made)
    ]
