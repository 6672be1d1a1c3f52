"""Airflow in the simulated world: tries, retries, deferrals, clears, and a state store that may fail."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.exceptions import SegmindError, SegmindRequestExpiredError, SegmindTimeoutError
from airflow_provider_segmind.execution.batch import Deferred
from airflow_provider_segmind.execution.single import Submitted
from airflow_provider_segmind.execution.waves import BatchEvent, Limits, Waited
from airflow_provider_segmind.protocol.events import CompletedEvent, Event, FailedEvent, FetchEvent, event_for
from airflow_provider_segmind.protocol.wire import RequestState, RequestStatus
from tests.simulation.gateway import HOUR, Gateway
from tests.simulation.process import SECRET, Process
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.folder import Folder

#: Seconds after which Airflow notices that a process has died.
_NOTICED = 20.0
#: What a state store may hold that no version of ours has written.
_NONSENSE = [{"version": 99, "key": "k"}]


@dataclass
class Rates:
    """How often what goes wrong."""

    kill: float = 0.0
    zombie: float = 0.0
    store: float = 0.0
    after: float = 0.0
    user: float = 0.0


@dataclass(eq=False)
class Task:
    """
    One task instance.

    :param group: the task, of whose DAG runs this instance belongs to one: it names the manifest.
    :param payer: the task that has paid for what is in a folder: also once it is renamed.
    :param bodies: what it wants now, one for each item.
    :param generation: grows when it is cleared after a real success.
    :param store: its task state store, by key.
    :param objects: the objects in storage, by name, each with the request that made it.
    :param unsure: what was known of its earlier wants was lost.
    :param leaks: what a process of it has left that it may not leave.
    """

    world: World
    gateway: Gateway
    name: str
    group: str
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
    limits: Limits = field(default_factory=lambda: Limits(None, 100))
    read_only_until: float = 0.0
    input_is_missing: bool = False
    began_at: float = 0.0
    generation: int = 0
    try_number: int = 0
    tries_left: int = 0
    payer: str = ""
    state: str = "none"
    error: BaseException | None = None
    token: int = 0
    store: dict[str, Any] = field(default_factory=dict)
    objects: dict[str, str] = field(default_factory=dict)
    delivered: list[tuple[int, Any]] = field(default_factory=list)
    closed: set[int] = field(default_factory=set)
    wiped: bool = False
    unsure: bool = False
    dead_urls: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    tries: int = 0
    processes: list[Process] = field(default_factory=list)
    added: int = 0
    wanted: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Remember what it wants, also when that has changed."""
        self.wanted = list(self.bodies)
        self.payer = self.payer or self.group

    @property
    def is_read_only(self) -> bool:
        """Whether its storage cannot be written now."""
        return self.world.now < self.read_only_until and not self.world.calm

    @property
    def is_over(self) -> bool:
        """Whether it has ended, and none of its processes goes on."""
        return self.state in ("success", "failed") and all(process.ended for process in self.processes)

    # --- what the scheduler does ------------------------------------------------------------------------------

    def clear(self) -> None:
        """Begin a run of tries, as the scheduler does at first, and after a user's clear."""
        if self.state == "success":
            self.generation += 1
        self.tries_left = self.retries
        self.start()

    def start(self, event: Any = None, resumed: bool = False) -> None:
        """Start a process: of the next try, or of a task that is resumed."""
        if not resumed:
            self.try_number += 1
            self.tries += 1
        self.token += 1
        self.state = "running"
        self._end_the_others()
        process = Process(self, self.token, self.world.pick("a worker's clock", (0.0, 0.0, 40.0, -40.0)))
        self.processes.append(process)
        self.world.report(process.name, "is resumed" if resumed else "starts, try {}", self.try_number)
        self.world.spawn(lambda: process.run(event))

    def _end_the_others(self) -> None:
        """Airflow ends a process whose heartbeat it refuses; where there is a store, its writes are refused before."""
        if not self.has_store:
            for process in self.processes:
                process.dead = True

    def owns(self, process: Process) -> bool:
        """Return whether Airflow takes a process for the task's."""
        return process.token == self.token

    def failed(self, process: Process, error: BaseException | None) -> None:
        """A try has failed."""
        if not self.owns(process):
            return
        self.token += 1
        self._end_the_others()
        self.error = error
        permanent = isinstance(error, SegmindError) and not error.retryable
        self.world.report(process.name, "fails: {!r:.160}", error)
        if self.tries_left and not permanent:
            self.tries_left -= 1
            self.state = "up_for_retry"
            self._maybe_unlucky()
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
                    self.world.report("user", "clears {}", self.name)
                    self._maybe_wiped(delay)
                    self._maybe_changed()
                    self._maybe_unlucky()
                    self.clear()

            self.world.at(self.world.now + delay, clear)

    def interrupt(self) -> None:
        """Clear it while it runs or waits, as a user may: Airflow ends its process, and begins another try."""
        if self.state not in ("running", "deferred") or self.world.calm:
            return
        self.world.report("user", "clears {}, which is {}", self.name, self.state)
        self.token += 1
        self.state = "restarting"
        for process in self.processes:
            process.dead = True
        self.tries_left = self.retries
        self.world.at(self.world.now + 3.0, self._start_if("restarting"))

    def _maybe_wiped(self, delay: float) -> None:
        if delay >= 4000.0 and self.store and self.world.chance("the store was cleaned up", 0.1):
            self.store.clear()
            self.wiped = self.unsure = True

    def _maybe_changed(self) -> None:
        if self.batch and self.world.chance("items are reordered", 0.2):
            self.bodies.reverse()
        if self.batch and self.world.chance("items are changed", 0.1):
            self.added += 1
            self.bodies = [*self.bodies[1:], {**self.bodies[0], "image": f"https://b/new{self.added}.jpg"}]
            self.wanted += self.bodies[-1:]
        if self.uploads and self.world.chance("Segmind deletes the uploads", 0.3):
            self.gateway.lost_uploads.update(self.gateway.uploads)

    def _maybe_unlucky(self) -> None:
        """What may happen to a task between two of its tries."""
        world, rate = self.world, self.rates.user
        if self.objects and world.chance("somebody deletes what was stored", rate):
            self.objects.clear()
        if self.store and world.chance("a request record cannot be read", rate / 2):
            self.store[min(self.store)] = _NONSENSE
            self.unsure = True
        if self.uploads:
            self.input_is_missing = world.chance("the input is missing", rate)

    def succeeded(self, process: Process, value: Any) -> None:
        """Airflow has the report of a success."""
        self._check_leaks("an XCom", value)
        self.token += 1  # the process goes on to its callbacks
        self.state = "success"
        self.delivered.append((self.generation, value))
        if not self.stores and not self.gateway.is_alive(value["request_id"]):
            self.dead_urls.append(value["request_id"])
        self.world.report(process.name, "succeeds with {!r:.120}", value)

    def _check_leaks(self, what: str, value: Any) -> None:
        if SECRET in str(value):
            self.leaks.append(f"I8: {what} of {self.name} holds a signature")

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
        self._check_leaks("a deferral", waits)
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
                self.failed(Process(self, self.token, 0.0), TimeoutError("deferral timeout"))

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
            return event_for(SegmindRequestExpiredError("gone", request_id=request_id), request_id=request_id)
        if request.fails:
            failed = RequestStatus(request_id=request_id, state=RequestState.FAILED, error="boom").failure()
            return FailedEvent(request_id=request_id, error=failed.to_dict())
        if request.inline:
            return FetchEvent(request_id=request_id)
        return CompletedEvent(request_id=request_id, result=self.gateway.result(request, inline=False))

    def _event(self, waits: Submitted | Deferred, process: Process) -> Any:
        if isinstance(waits, Submitted):
            return self.event(waits.request_id).model_copy(update={"request_info": {"key": process.key}})
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
