"""One process of a task in the simulated world: its clock, its state store, and the code that a try runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError, SegmindRateLimitedError
from airflow_provider_segmind.execution.batch import BatchRules, BatchRun, Deferred
from airflow_provider_segmind.execution.engine import Engine
from airflow_provider_segmind.execution.record import RequestRecord
from airflow_provider_segmind.execution.single import Prepared, SingleRun, Submitted, submitted_before
from airflow_provider_segmind.execution.store import STORE_KEY, TaskStateRecords
from airflow_provider_segmind.execution.want import Rules, Want
from airflow_provider_segmind.execution.waves import shown
from airflow_provider_segmind.protocol.identity import key_of
from tests.simulation.gateway import MODEL, SegmindPort, StoragePort
from tests.simulation.world import CALL, Killed

if TYPE_CHECKING:
    from tests.simulation.airflow import Task

#: What signs a URL; nothing that leaves a process may hold it.
SECRET = "s3cr3t"
#: The argument lost_submit_wait (seconds).
TIMEOUT = 3.0
#: Bytes of an XCom at most.
_XCOM = 4096


class StoreError(Exception):
    """The state store failed, or refused a process of an earlier try."""


_KEYS: dict[tuple[Any, ...], str] = {}


def read(body: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of an input that was read from storage."""
    image = str(body["image"])
    sha256 = hashlib.sha256(image.encode()).hexdigest()
    return {"uri": image.partition("?")[0], "sha256": sha256, "width": 1, "height": 1}


def key_for(body: Mapping[str, Any], *, uploads: bool) -> str:
    """The key of a want, computed once; of an input that is uploaded by its content."""
    if not uploads:
        return _key_of(body)
    rest = {name: value for name, value in body.items() if name != "image"}
    return _key_of({**rest, "image_sha256": read(body)["sha256"]})


def _key_of(identity: Mapping[str, Any]) -> str:
    items = tuple(sorted(identity.items()))
    if items not in _KEYS:
        _KEYS[items] = key_of(MODEL, identity, "g")
    return _KEYS[items]


class Process:
    """One process of a task: the clock port of the engine, and what all its ports pass through."""

    def __init__(self, task: Task, token: int, offset: float) -> None:
        self.task, self.token, self.offset, self.world = task, token, offset, task.world
        self.began = task.world.now
        self.machine = task.world.pick("machine", ("a", "a", "b", None))
        self.dead = self.ended = self.met_bad_storage = False
        self.number = task.try_number
        self.key = ""
        self.name = f"{task.name}#{token}"

    # --- ports ----------------------------------------------------------------------------------------------------

    def port(self, name: str) -> None:
        """Pass a port: time goes on, other processes run, and this one may die."""
        world, rates = self.world, self.task.rates
        if rates.kill and world.chance("killed at ", rates.kill, name):
            self.task.lost(self)
            raise Killed
        if rates.zombie and self.task.owns(self) and world.chance("a zombie at ", rates.zombie, name):
            self.task.lost(self)
            world.pass_(world.pick("pauses", (30.0, 4.0, 200.0, 5000.0)))
        world.pass_(CALL)
        if self.dead:
            raise Killed
        world.report(self.name, "{}", name)

    def now(self) -> float:
        """The clock of this worker."""
        return self.world.now + self.offset

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self.world.pass_(seconds)
        if self.dead:
            raise Killed

    # The task state store, as Airflow's SDK offers it.

    def get(self, key: str) -> Any:
        """Read."""
        found = self.task.store.get(key)
        if found is None:
            return None  # nothing can go wrong that does not go wrong at the next port, too
        self.port("read the store")
        return found

    def set(self, key: str, value: Any, *, retention: Any = None) -> None:
        """Write, unless a later try has begun."""
        self._write("write the store")
        self.task.store[key] = value
        self._after_write()

    def delete(self, key: str) -> None:
        """Delete."""
        self._write("delete from the store")
        self.task.store.pop(key, None)
        self._after_write()

    def _write(self, name: str) -> None:
        self.port(name)
        if not self._may_write():
            raise StoreError("the task instance is another by now")
        if self.world.chance("the store fails before it writes", self.task.rates.store):
            raise StoreError("before")

    def _may_write(self) -> bool:
        return self.task.owns(self) or (self.task.state == "success" and self.token == self.task.token - 1)

    def _after_write(self) -> None:
        if self.world.chance("the store fails after it wrote", self.task.rates.store):
            raise StoreError("after")
        self.port("the store responds")

    # --- the task's code --------------------------------------------------------------------------------------------

    def want_of(self, body: Mapping[str, Any]) -> tuple[str, int, str]:
        """For the book-keeping: whose submit this is."""
        task = self.task
        if task.uploads:
            content = task.gateway.uploads.get(str(body.get("image")), b"").decode()
            return (task.name, task.generation, key_for({**body, "image": content}, uploads=True))
        return (task.payer, 0, _key_of(body)) if task.batch else (task.name, task.generation, _key_of(body))

    def run(self, event: Any) -> None:
        """Run the task's code, and report its end to Airflow."""
        try:
            self._execute(event)
        except Killed:
            self.world.report(self.name, "is dead")
        except (SegmindError, StoreError) as error:
            if self.task.folder and self.task.owns(self) and not self.met_bad_storage:
                self.task.leaks += self.task.folder.claimed_by(self)
            self.task.failed(self, error)
        finally:
            self.ended = True

    def _engine(self, *, batch: bool) -> Engine:
        task = self.task
        records = TaskStateRecords(self if task.has_store else None, batch=batch)
        rules = Rules(
            MODEL,
            on_lost_submit=task.on_lost_submit,  # type: ignore[arg-type]
            lost_submit_wait=TIMEOUT,
            ran_before=self.number > 1,
            owner=task.name,
            try_number=self.number,
            began_at=task.began_at + self.offset,
        )
        return Engine(SegmindPort(task.gateway, self), records, self, rules)

    def _execute(self, event: Any) -> None:
        if self.task.batch:
            self._execute_batch(event)
        else:
            self._execute_single(event)

    def _prepared(self, engine: Engine) -> Prepared:
        """What a try knows of its want before it costs anything."""
        task = self.task
        body = task.bodies[0]
        if not task.uploads:
            return Prepared(body, body)
        rest = {name: value for name, value in body.items() if name != "image"}
        source, prepared = read(body), Prepared(rest, rest)
        if task.input_is_missing and not self.world.calm:
            missing = SegmindConfigError("the input is missing")
            try:
                return submitted_before(engine.records.read().values(), prepared, source["uri"], MODEL, "g", missing)
            except SegmindConfigError:
                self._check_nothing_is_paid(key_for(body, uploads=True))
                raise
        return replace(prepared.of(source), upload=str(body["image"]).encode())

    def _check_nothing_is_paid(self, key: str) -> None:
        if not self.task.owns(self):
            return  # the store is a later try's by now
        for record in self.task.store.get(STORE_KEY, ()):
            if record.get("key") == key and record["state"] in ("intended", "submitted", "completed", "delivered"):
                self.task.leaks.append(f"I4: a paid request of {self.task.name} is out of reach without its input")

    def _want(self, prepared: Prepared) -> Want:
        if self.task.uploads:
            return prepared.want(MODEL, "g")
        return Want(prepared.body, RequestRecord(key=_key_of(prepared.body)))

    def _execute_single(self, event: Any) -> None:
        task = self.task
        storage = StoragePort(task, self) if task.stores else None
        while True:
            engine = self._engine(batch=False)
            if event is not None:
                want, before = Want({}, RequestRecord(key=event.request_info["key"])), None
            else:
                prepared = self._prepared(engine)
                want, before = self._want(prepared), prepared.missing
            self.key = want.record.key
            run = SingleRun(engine, want, storage, lambda why=before: self._check_place(why))  # type: ignore[misc]
            try:
                found = run.resume(event) if event is not None else run.start(deadline=self.now() + task.timeout)
                break
            except SegmindRateLimitedError:
                self.sleep(60.0)
        while isinstance(found, Submitted):
            if task.deferrable:
                self.port("defer")
                task.deferred(self, found)
                return
            deadline = self.began + task.timeout
            while self.world.now < task.end_of(found.request_id, deadline):
                self.sleep(max(1.0, task.end_of(found.request_id, deadline) - self.world.now))
                self.port("poll")
            found = run.resume(task.event(found.request_id))
        self._return(found.value, run)

    def _check_place(self, missing: SegmindError | None) -> None:
        if missing is not None:
            raise missing
        if self.task.stores and self.task.is_read_only:
            raise SegmindConfigError("the destination is read-only")

    def _execute_batch(self, event: Any) -> None:
        task = self.task
        wants: dict[str, Want] = {}
        for index, body in enumerate(task.bodies):
            key = _key_of(body)
            wants.setdefault(key, Want(body, RequestRecord(key=key, index=index, item=shown(body)), name=key))
        storage = StoragePort(task, self)
        rules = BatchRules(model=MODEL, owner=task.name, limits=task.limits, timeout=task.timeout)
        if task.folder is None:
            raise RuntimeError("a batch has a folder")
        run = BatchRun(self._engine(batch=True), task.folder.opened(self), storage, rules, list(wants.values()))
        found = run.run(event)
        if isinstance(found, Deferred):
            self.port("defer")
            task.deferred(self, found)
            return
        if len(json.dumps(found)) > _XCOM:
            task.leaks.append(f"I8: the XCom of {task.name} has more than {_XCOM} bytes")
        self._return([want.record.value for want in wants.values()], None)

    def _return(self, value: Any, run: SingleRun | None) -> None:
        """What Airflow does once ``execute`` has returned."""
        task = self.task
        self.port("post_execute")
        if not task.owns(self):
            return  # a zombie: Airflow does not take its success
        if self.world.chance("post_execute or the XCom push fails", task.rates.after):
            task.failed(self, RuntimeError("post_execute"))
            return
        self.port("report the success")
        if not task.owns(self):
            return
        generation = task.generation
        task.succeeded(self, value)
        token = task.token
        if run is not None:
            try:
                self.port("on_success_callback")
                run.close()
                task.closed.add(generation)
            except (Killed, StoreError):
                pass
        if task.state == "success" and task.token == token:
            task._ended()
