"""Segmind in the simulated world: what it accepted is the truth against which the engine is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.exceptions import (
    SegmindConnectionError,
    SegmindDownloadError,
    SegmindError,
    SegmindGatewayError,
    SegmindInvalidRequestError,
    SegmindRateLimitedError,
    SegmindRequestExpiredError,
    SegmindServerError,
    SegmindUnknownOutcomeError,
)
from airflow_provider_segmind.protocol.wire import (
    HistoryPage,
    HistoryRow,
    Metrics,
    OutputFile,
    RequestState,
    RequestStatus,
    Result,
)

if TYPE_CHECKING:
    from airflow_provider_segmind.execution.ports import MayLeave, Responded
    from tests.simulation.airflow import Task
    from tests.simulation.process import Process
    from tests.simulation.world import World

HOUR, DAY = 3600.0, 86400.0
MODEL = "esrgan"


@dataclass
class Request:
    """
    One request that Segmind accepted.

    :param want: whose it is, by the simulation's own book-keeping; None for somebody else's.
    :param resubmits: the task was allowed to submit again what is lost.
    :param forgetful: the task's store was gone, or it has none.
    :param run: the task instance.
    :param outcome: the response to its submit: ``id``, ``lost``, ``error``, or ``dead`` if its process died.
    """

    request_id: str
    parameters: dict[str, Any]
    accepted_at: float
    ends_at: float
    fails: bool = False
    want: tuple[str, int, str] | None = None
    ours: bool = True
    outcome: str = "dead"
    deleted: bool = False
    asked_for: bool = False
    inline: bool = False
    resubmits: bool = False
    forgetful: bool = False
    run: str = ""
    listed_as: HistoryRow | None = None

    @property
    def billed(self) -> bool:
        """Failed work is free."""
        return not self.fails


@dataclass
class Gateway:
    """
    All that Segmind is in one schedule.

    :param lag: seconds after which a request is listed in the history; None for never.
    :param skew: seconds by which its clock is ahead of the true time.
    :param dates: False where no response has a ``Date``.
    :param page: rows of a page at most.
    :param copies: rows of one request.
    :param pending: completed requests are listed as PENDING.
    :param pending_for_good: also when all other faults have stopped.
    :param young: seconds for which a new id is not known.
    :param young_output: seconds for which a new output is not known.
    """

    world: World
    lag: float | None = 0.0
    skew: float = 0.0
    dates: bool = True
    page: int = 100
    copies: int = 1
    pending: bool = False
    pending_for_good: bool = False
    young: float = 0.0
    young_output: float = 0.0
    trouble: float = 0.0
    requests: list[Request] = field(default_factory=list)
    marks: int = 0
    marked: set[str] = field(default_factory=set)
    lost_uploads: set[str] = field(default_factory=set)
    uploads: dict[str, bytes] = field(default_factory=dict)

    def accept(self, parameters: Mapping[str, Any], want: tuple[str, int, str] | None, *, ours: bool = True) -> Request:
        """Accept a submit."""
        world = self.world
        takes = world.pick("duration", (12.0, 2.0, 700.0, 4000.0))
        fails = world.chance("FAILED", 0.06) or parameters.get("image") in self.lost_uploads
        made = Request(
            f"r{len(self.requests)}", dict(parameters), world.now, world.now + takes, fails, want, ours,
            inline=parameters.get("base64") is True,
        )  # fmt: skip
        self.requests.append(made)
        world.report("segmind", "accepts {} of {}", made.request_id, want or "somebody")
        return made

    def find(self, request_id: str) -> Request | None:
        """One of our own requests."""
        number = int(request_id[1:])
        found = self.requests[number] if number < len(self.requests) else None
        return found if found is not None and found.ours else None

    def result(self, request: Request, *, inline: bool) -> Result:
        """The result of a completed request."""
        url = f"https://o/{request.request_id}"
        return Result(
            request_id=request.request_id,
            model=MODEL,
            output=None if request.inline else url,
            outputs=[] if request.inline else [OutputFile(url=url)],
            inline="aGk=" if request.inline and inline else None,
            metrics=Metrics(cost=0.005),
        )

    def has_output(self, request: Request) -> bool:
        """Return whether its output can be downloaded now."""
        age = self.world.now - request.ends_at
        return not request.deleted and (self.world.calm or age >= self.young_output) and age < 7 * DAY

    def is_alive(self, request_id: str) -> bool:
        """Return whether the URL of an output still leads somewhere."""
        request = self.find(request_id)
        return request is None or self.world.now - request.ends_at < 7 * DAY + HOUR

    def listed(self, request: Request) -> bool:
        """Return whether the history shows a request."""
        if self.world.calm:
            return True
        return self.lag is not None and self.world.now >= request.accepted_at + self.lag

    def row(self, request: Request) -> HistoryRow:
        """Its row in the history."""
        over = self.world.now >= request.ends_at
        status = "PENDING"
        if over and request.fails:
            status = "FAILED"
        elif over and not (self.pending and (self.pending_for_good or not self.world.calm)):
            status = "COMPLETED"
        has_url = status == "COMPLETED" and not request.inline
        if request.listed_as is not None and request.listed_as.status == status:
            return request.listed_as
        request.listed_as = HistoryRow(
            request_id=request.request_id,
            model=MODEL,
            status=status,
            parameters=request.parameters,
            output=f"https://o/{request.request_id}" if has_url else None,
            created_at=datetime.fromtimestamp(request.accepted_at + self.skew, UTC).isoformat(),
        )
        return request.listed_as


class SegmindPort:
    """Segmind for one process."""

    def __init__(self, gateway: Gateway, process: Process) -> None:
        self._gateway, self._process = gateway, process
        self._heard = False

    @property
    def skew(self) -> float | None:
        """The skew by the latest Date header."""
        if not (self._heard and self._gateway.dates):
            return None
        return self._gateway.skew - self._process.offset

    def _call(self, name: str) -> None:
        """Let a call that costs nothing take its time, and go wrong."""
        self._process.port(name)
        if self._gateway.trouble and self._process.world.chance("no response of ", self._gateway.trouble, name):
            raise SegmindConnectionError(f"{name}: it broke")
        self._heard = True

    def open(self) -> None:
        """Connect."""
        self._call("open")

    def upload(self, content: bytes) -> str:
        """Keep an upload."""
        self._call("upload")
        url = f"https://up/{len(self._gateway.uploads)}"
        self._gateway.uploads[url] = content
        return url

    def mark(self) -> str | None:
        """Make a mark on the process's machine."""
        if self._process.machine is None:
            return None
        self._gateway.marks += 1
        name = f"{self._process.machine}-{self._gateway.marks}"
        self._gateway.marked.add(name)
        return name

    def take(self, mark: str) -> bool:
        """Remove a mark of this machine."""
        self._process.port("take the mark")
        here = mark.startswith(f"{self._process.machine}-") and mark in self._gateway.marked
        self._gateway.marked -= {mark} if here else set()
        self._process.port("the mark is taken")
        return here

    def submit(self, bodies: Sequence[Mapping[str, Any]], *, may_leave: MayLeave, responded: Responded) -> None:
        """Take the POSTs, and then respond to them one by one."""
        process = self._process
        responses = [self._post(body, number, may_leave) for number, body in enumerate(bodies)]
        for number, response in enumerate(responses):
            process.port("response")
            responded(number, response)

    def _post(self, body: Mapping[str, Any], number: int, may_leave: MayLeave) -> str | SegmindError:
        world, gateway, process = self._process.world, self._gateway, self._process
        process.port("submit")
        if (why := may_leave(number)) is not None:
            return why
        response = world.pick(
            "response", ("id",) * 14 + ("lost before", "lost after", "5xx", "5xx after", "429", "refused", "400")
        )
        self._heard = True
        if response == "refused":
            return SegmindConnectionError("connection refused")
        if response == "429":
            reset_at = datetime.fromtimestamp(process.now() + 40.0, UTC)
            return SegmindRateLimitedError("limit", reset_at=reset_at)
        if response == "400":
            return SegmindInvalidRequestError("bad", status=400)
        if response == "lost before":
            return SegmindUnknownOutcomeError("lost")
        if response == "5xx":
            return SegmindServerError("boom", status=500)
        request = gateway.accept(body, process.want_of(body))
        request.resubmits = process.task.on_lost_submit == "resubmit"
        request.run = process.task.name
        request.forgetful = process.task.wiped or not process.task.has_store
        process.port("accepted")
        request.outcome = {"id": "id", "lost after": "lost", "5xx after": "error"}[response]
        if response == "lost after":
            return SegmindUnknownOutcomeError("lost")
        if response == "5xx after":
            return SegmindGatewayError("late", status=504)
        return request.request_id

    def _known(self, request_id: str) -> Request:
        gateway = self._gateway
        request = gateway.find(request_id)
        age = gateway.world.now - request.accepted_at if request else 0.0
        if request is None or age > HOUR or (age < gateway.young and not gateway.world.calm):
            raise SegmindRequestExpiredError("unknown", status=404, request_id=request_id)
        return request

    def status(self, request_id: str) -> RequestStatus:
        """Where a request is."""
        self._call("status")
        request = self._known(request_id)
        state = RequestState.PROCESSING
        if self._gateway.world.now >= request.ends_at:
            state = RequestState.FAILED if request.fails else RequestState.COMPLETED
        return RequestStatus(request_id=request_id, state=state)

    def result(self, request_id: str) -> Result:
        """The final body."""
        self._call("result")
        return self._gateway.result(self._known(request_id), inline=True)

    def history_page(self, since: float, number: int, *, all_models: bool) -> HistoryPage:
        """A page of the list: of the whole team."""
        self._call("history")
        gateway = self._gateway
        rows = [gateway.row(one) for one in reversed(gateway.requests) if gateway.listed(one)]
        raw = [row for row in rows for _ in range(gateway.copies)]
        page = raw[(number - 1) * gateway.page : number * gateway.page]
        return HistoryPage(rows=list({row.request_id: row for row in page}.values()), raw=len(page))

    def history_row(self, request_id: str) -> HistoryRow | None:
        """One row: own requests only."""
        self._call("history row")
        request = self._gateway.find(request_id)
        return self._gateway.row(request) if request is not None and self._gateway.listed(request) else None

    def is_same(self, url: str, content: bytes) -> bool:
        """Compare an upload."""
        self._call("download an upload")
        return self._gateway.uploads.get(url) == content


class StoragePort:
    """A storage for one process: objects by their names, each with the request that made it."""

    def __init__(self, task: Task, process: Process) -> None:
        self._task, self._gateway, self._process = task, task.gateway, process

    @property
    def destination(self) -> str:
        """It does not change."""
        return "mem://"

    def store(self, results: Sequence[tuple[str, Result]], stored: Any) -> None:
        """Fetch and store each."""
        for number, (key, result) in enumerate(results):
            stored(number, self._store(key, result))

    def _store(self, key: str, result: Result) -> list[dict[str, Any]] | SegmindError:
        from airflow_provider_segmind.exceptions import SegmindStorageError

        process, gateway = self._process, self._gateway
        process.port("download")
        request = gateway.find(result.request_id)
        if request is not None:
            request.asked_for = True
        if process.world.chance("no response of ", gateway.trouble, "a download"):
            return SegmindDownloadError("it broke")
        if request is None or (result.fetchable and not gateway.has_output(request)):
            return SegmindDownloadError("not there", status=404, retryable=False)
        if self._task.is_read_only or process.world.chance("storage: full", gateway.trouble):
            return SegmindStorageError("no space")
        name = key if self._task.batch else f"{self._task.name}/{key}"
        process.port("store")
        self._task.objects[name] = result.request_id
        process.world.report(process.name, "stores {} of {}", name, result.request_id)
        return [{"uri": name, "bytes": 1, "request_id": result.request_id}]

    def has(self, stored: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether they are there."""
        self._process.port("check the stored objects")
        return all(item["uri"] in self._task.objects for item in stored)
