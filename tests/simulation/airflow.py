"""Airflow in the simulated world: tries, retries, deferrals, clears, and a state store that may fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.exceptions import SegmindError, SegmindRateLimitedError, SegmindTimeoutError
from airflow_provider_segmind.execution.batch import BatchRules, BatchRun, Deferred
from airflow_provider_segmind.execution.engine import Engine
from airflow_provider_segmind.execution.record import RequestRecord
from airflow_provider_segmind.execution.single import SingleRun, Submitted
from airflow_provider_segmind.execution.store import TaskStateRecords
from airflow_provider_segmind.execution.want import Rules, Want
from airflow_provider_segmind.execution.waves import BatchEvent, Limits, Waited
from airflow_provider_segmind.protocol.events import CompletedEvent, Event, FailedEvent, FetchEvent, event_for
from airflow_provider_segmind.protocol.identity import key_of
from airflow_provider_segmind.protocol.wire import RequestState, RequestStatus
from tests.simulation.gateway import HOUR, MODEL, Gateway, SegmindPort, StoragePort
from tests.simulation.world import CALL, Killed, World

if TYPE_CHECKING:
    from tests.simulation.folder import Folder

#: Seconds after which Airflow notices that a process has died.
_NOTICED = 20.0
#: The argument lost_submit_wait (seconds).
PATIENCE = 3.0


class StoreError(Exception):
    """The state store failed, or refused a process of an earlier try."""


@dataclass
class Rates:
    """How often what goes wrong."""

    kill: float = 0.0
    zombie: float = 0.0
    store: float = 0.0
    after: float = 0.0
    event: float = 0.0


@dataclass(eq=False)
class Task:
    """
    One task instance.

    :param bodies: what it wants now, by the name of each item.
    :param generation: grows when it is cleared after a real success.
    :param store: its task state store, by key.
    """

    world: World
    gateway: Gateway
    name: str
    bodies: list[dict[str, Any]]
    rates: Rates
    retries: int = 2
    retry_delay: float = 60.0
    deferrable: bool = True
    batch: bool = False
    folder: Folder | None = None
    on_lost_submit: str = "fail"
    stores: bool = True
    has_store: bool = True
    timeout: float = 600.0
    uploads: bool = False
    began_at: float = 0.0
    generation: int = 0
    try_number: int = 0
    tries_left: int = 0
    state: str = "none"
    error: BaseException | None = None
    token: int = 0
    store: dict[str, Any] = field(default_factory=dict)
    objects: dict[str, str] = field(default_factory=dict)
    delivered: list[tuple[int, Any]] = field(default_factory=list)
    closed: set[int] = field(default_factory=set)
    wiped: bool = False
    dead_urls: list[str] = field(default_factory=list)
    began: dict[int, float] = field(default_factory=dict)
    tries: int = 0
    zombies: list[Process] = field(default_factory=list)

    # --- what the scheduler does ------------------------------------------------------------------------------

    def clear(self) -> None:
        """Begin a run of tries, as the scheduler does at first, and after a user's clear."""
        if self.state == "success":
            self.generation += 1
        self.began.setdefault(self.generation, self.world.now)
        self.tries_left = self.retries
        self.start()

    def start(self, event: Any = None, resumed: bool = False) -> None:
        """Start a process: of the next try, or of a task that is resumed."""
        if not resumed:
            self.try_number += 1
            self.tries += 1
        self.token += 1
        self.state = "running"
        if not self.has_store:
            for zombie in self.zombies:
                zombie.dead = True  # Airflow ends a process whose heartbeat it refuses
        process = Process(self, self.token, self.world.pick("a worker's clock", (0.0, 0.0, 40.0, -40.0)))
        self.world.tell(process.name, "is resumed" if resumed else f"starts, try {self.try_number}")
        self.world.spawn(lambda: process.run(event))

    def owns(self, process: Process) -> bool:
        """Return whether Airflow takes a process for the task's."""
        return process.token == self.token

    def failed(self, process: Process, error: BaseException | None) -> None:
        """A try has failed."""
        if not self.owns(process):
            return
        self.token += 1
        self.error = error
        permanent = isinstance(error, SegmindError) and not error.retryable
        self.world.tell(process.name, "fails: {!r:.160}", error)
        if self.tries_left and not permanent:
            self.tries_left -= 1
            self.state = "up_for_retry"
            self.world.at(self.world.now + self.retry_delay, self._start_if("up_for_retry"))
        else:
            self.state = "failed"
            self._ended()

    def _start_if(self, state: str) -> Any:
        token = self.token

        def start() -> None:
            if self.state == state and self.token == token:
                self.start()

        return start

    def _ended(self) -> None:
        if self.world.calm or self.tries > 3:
            return
        later = (0.0, 0.0, 30.0, 400.0, 4000.0, 8 * 86400.0, 2 * 86400.0)
        delay = self.world.pick("cleared after", (0.0,) * 9 + later if self.state == "success" else later)
        if delay:
            token = self.token

            def clear() -> None:
                if self.token == token:
                    self.world.tell("user", f"clears {self.name}")
                    self._maybe_wiped(delay)
                    self._maybe_changed()
                    self.clear()

            self.world.at(self.world.now + delay, clear)

    def _maybe_wiped(self, delay: float) -> None:
        if delay >= 4000.0 and self.store and self.world.chance("the store was cleaned up", 0.1):
            self.store.clear()
            self.wiped = True

    def _maybe_changed(self) -> None:
        if self.batch and self.world.chance("items are reordered", 0.2):
            self.bodies.reverse()
        if self.uploads and self.world.chance("Segmind deletes the uploads", 0.3):
            self.gateway.lost_uploads.update(self.gateway.uploads)

    def succeeded(self, process: Process, value: Any) -> None:
        """Airflow has the report of a success."""
        self.token += 1  # the process goes on to its callbacks
        self.state = "success"
        self.delivered.append((self.generation, value))
        if not self.stores and not self.gateway.is_alive(value["request_id"]):
            self.dead_urls.append(value["request_id"])
        self.world.tell(process.name, "succeeds with {!r:.120}", value)

    def lost(self, process: Process) -> None:
        """A process has died."""
        if self.owns(process):
            self.world.at(self.world.now + _NOTICED, lambda: self.failed(process, None))

    # --- what the triggerer does ---------------------------------------------------------------------------------

    def deferred(self, process: Process, waits: Submitted | Deferred) -> None:
        """Wait for what a process has left."""
        if not self.owns(process):
            return
        self.token += 1
        self.state = "deferred"
        token, world = self.token, self.world
        if isinstance(waits, Submitted):
            deadline = process.began + self.timeout
            moment = self.end_of(waits.request_id, deadline)
        else:
            moment = self._end_of_batch(waits, process)
        moment = max(moment, world.now + 6.0)
        fate = world.pick("the event", ("comes", "comes", "comes", "late", "twice", "never"))

        def fire() -> None:
            if self.token == token and self.state == "deferred":
                self.start(self._event(waits, process), resumed=True)

        def give_up() -> None:
            if self.token == token and self.state == "deferred":
                self.failed(process_of(self), TimeoutError("deferral timeout"))

        if fate == "never":
            world.at(moment + 700.0, give_up)
            return
        world.at(moment + (5000.0 if fate == "late" else 0.0), fire)
        if fate == "twice":
            world.at(moment + 3.0, fire)

    def end_of(self, request_id: str, deadline: float) -> float:
        """Return when the wait for a request ends."""
        request = self.gateway.find(request_id)
        return deadline if request is None else max(self.world.now, min(request.ends_at + 1.0, deadline))

    def event(self, request_id: str) -> Event:
        """Return what a trigger sees of a request now."""
        request = self.gateway.find(request_id)
        world = self.world
        if request is None or world.now < request.ends_at or world.chance("the trigger sees nothing", 0.05):
            return event_for(SegmindTimeoutError("late", request_id=request_id), request_id=request_id)
        if world.now > request.accepted_at + HOUR:
            from airflow_provider_segmind.exceptions import SegmindRequestExpiredError

            return event_for(SegmindRequestExpiredError("gone", request_id=request_id), request_id=request_id)
        if request.fails:
            failed = RequestStatus(request_id=request_id, state=RequestState.FAILED, error="boom").failure()
            return FailedEvent(request_id=request_id, error=failed.to_dict())
        if request.inline:
            return FetchEvent(request_id=request_id)
        return CompletedEvent(request_id=request_id, result=self.gateway.result(request, inline=False))

    def _event(self, waits: Submitted | Deferred, process: Process) -> Any:
        if isinstance(waits, Submitted):
            return self.event(waits.request_id).model_copy(update={"note": {"key": process.key}})
        world, ended = self.world, []
        for one in waits.waited:
            request = self.gateway.find(one.request_id)
            over = request is not None and world.now >= min(request.ends_at, one.submitted_at + self.timeout)
            ended.append(one.model_copy(update={"event": self.event(one.request_id)}) if over else one)
        return BatchEvent(waited=[Waited.model_validate(one.model_dump()) for one in ended], memory=waits.memory)

    def _end_of_batch(self, waits: Deferred, process: Process) -> float:
        ends = sorted(
            self.end_of(one.request_id, one.submitted_at - process.offset + self.timeout) for one in waits.waited
        )
        need = min(waits.need, len(ends))
        return max([waits.resume_at - process.offset, *ends[need - 1 : need]])


_KEYS: dict[tuple[Any, ...], str] = {}


def _key_of(identity: Mapping[str, Any]) -> str:
    """The key of a want, computed once."""
    items = tuple(sorted(identity.items()))
    if items not in _KEYS:
        _KEYS[items] = key_of(MODEL, identity, "g")
    return _KEYS[items]


def process_of(task: Task) -> Process:
    """A stand-in for the process of a task that has none."""
    return Process(task, task.token, 0.0)


class Process:
    """One process of a task: the clock port of the engine, and what all its ports pass through."""

    def __init__(self, task: Task, token: int, offset: float) -> None:
        self.task, self.token, self.offset, self.world = task, token, offset, task.world
        self.began = task.world.now
        self.machine = task.world.pick("machine", ("a", "a", "b", None))
        self.dead = False
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
            self.task.zombies.append(self)
            self.task.lost(self)
            world.pass_(world.pick("pauses", (30.0, 4.0, 200.0, 5000.0)))
        world.pass_(CALL)
        if self.dead:
            raise Killed
        world.tell(self.name, "{}", name)

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
        self.port("the store answers")

    # --- the task's code --------------------------------------------------------------------------------------------

    def want_of(self, body: Mapping[str, Any]) -> tuple[str, int, str]:
        """For the book-keeping: whose submit this is."""
        identity = {**body, "image": "upload"} if self.task.uploads else body
        return (self.task.name, self.task.generation, _key_of(identity))

    def run(self, event: Any) -> None:
        """Run the task's code, and report its end to Airflow."""
        try:
            self._execute(event)
        except Killed:
            self.world.tell(self.name, "is dead")
        except (SegmindError, StoreError) as error:
            self.task.failed(self, error)

    def _engine(self, *, batch: bool) -> Engine:
        task = self.task
        records = TaskStateRecords(self if task.has_store else None, batch=batch)
        rules = Rules(
            MODEL,
            on_lost_submit=task.on_lost_submit,  # type: ignore[arg-type]
            lost_submit_wait=PATIENCE,
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

    def _want(self, body: Mapping[str, Any], index: int = 0) -> Want:
        if self.task.uploads:
            rest = {name: value for name, value in body.items() if name != "image"}
            record = RequestRecord(key=_key_of({**rest, "image": "upload"}))
            return Want(rest, record, upload=str(body["image"]).encode())
        return Want(body, RequestRecord(key=_key_of(body), index=index))

    def _execute_single(self, event: Any) -> None:
        task = self.task
        storage = StoragePort(task.gateway, task.objects, self) if task.stores else None
        while True:
            want = self._want(task.bodies[0]) if event is None else Want({}, RequestRecord(key=event.note["key"]))
            self.key = want.record.key
            run = SingleRun(self._engine(batch=False), want, storage)
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

    def _execute_batch(self, event: Any) -> None:
        task = self.task
        wants: dict[str, Want] = {}
        for index, body in enumerate(task.bodies):
            want = self._want(body, index)
            wants.setdefault(want.record.key, want)
        storage = StoragePort(task.gateway, task.objects, self)
        rules = BatchRules(model=MODEL, owner=task.name, limits=Limits(None, 100), timeout=task.timeout)
        folder = task.folder.opened(self) if task.folder else None
        run = BatchRun(self._engine(batch=True), folder, storage, rules, list(wants.values()))  # type: ignore[arg-type]
        found = run.run(event)
        if isinstance(found, Deferred):
            self.port("defer")
            task.deferred(self, found)
            return
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
