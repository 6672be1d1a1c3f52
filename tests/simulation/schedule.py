"""One schedule: a world is drawn, lives until nothing is due, faults stop, and the invariants are checked."""

from __future__ import annotations

import itertools
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.execution.waves import Limits
from tests.simulation.airflow import Rates, Task
from tests.simulation.folder import Folder
from tests.simulation.gateway import DAY, HOUR, Gateway, Request
from tests.simulation.process import SECRET, key_for
from tests.simulation.world import World

_IMAGE = f"https://b/cat.jpg?X-Amz-Signature={SECRET}"
_OTHER = "https://b/dog.jpg"
#: Seconds by which the history is asked before a submit at most, and the calls in between.
_ASKED_BEFORE = 1.5
#: Seconds for which a search of the history counts if no state store refuses the writes of a suspended process.
_PAUSED = 65.0
#: Runs of tries after faults have stopped: without the argument that ends a dead end, and with it.
_CALM_ROUNDS = 6


@dataclass
class Outcome:
    """What a schedule was and what it violated."""

    world: World
    violations: list[str] = field(default_factory=list)
    exceptions: Counter[str] = field(default_factory=Counter)


@contextmanager
def silence() -> Iterator[None]:
    """The engine logs a lot; a hundred thousand schedules are not read."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def run(seed: int, script: Sequence[int] | None = None, *, reports: bool = False) -> Outcome:
    """
    Run one schedule.

    :param seed: of its decisions.
    :param script: its decisions, instead.
    :param reports: keep its story.
    """
    world = World(seed, script, reports=reports)
    outcome = Outcome(world)
    gateway, tasks = _draw(world)
    try:
        for task in tasks:
            if task.began_at <= world.now:
                world.at(world.now + world.pick("starts after", (0.0, 1.0, 30.0)), task.clear)
            if interrupted := world.pick("cleared at work after", (0.0,) * 8 + (1.0, 8.0, 60.0, 700.0)):
                world.at(world.now + interrupted, task.interrupt)
        world.run()
        _calm(world, gateway, tasks)
    except RuntimeError as error:
        outcome.violations.append(f"I4: {error}")
        return outcome
    _check(outcome, gateway, tasks)
    return outcome


# --- the world is drawn -----------------------------------------------------------------------------------------------


def _draw(world: World) -> tuple[Gateway, list[Task]]:
    pick = world.pick
    dates = pick("Date header", (True, True, True, False))
    skew = pick("Segmind's clock", (0.0, 0.0, 15.0, -15.0, *((280.0, -280.0) if dates else (70.0, -70.0))))
    gateway = Gateway(
        world,
        lag=pick("history", (0.0, 1.0, 2.0, 0.0, 200.0, None)),
        skew=skew,
        dates=dates,
        page=pick("rows of a page", (100, 100, 100, 2, 1)),
        copies=pick("rows of a request", (1, 1, 3)),
        pending=pick("PENDING for completed", (False, False, False, True, True)),
        pending_for_good=pick("PENDING for good", (False, False, False, True)),
        young=pick("young ids", (0.0, 0.0, 20.0)),
        young_output=pick("young outputs", (0.0, 0.0, 90.0)),
        trouble=pick("trouble", (0.0, 0.0, 0.03)),
    )
    level = pick("faults", (0.0, 0.01, 0.02, 0.05))
    rates = Rates(kill=level, zombie=level / 4, store=level / 2, after=5 * level, user=2 * level)
    kind = pick("kind", ("single", "single", "single", "single", "batch"))
    count = pick("tasks", (1, 1, 1, 1, 1, 1, 2, 3))
    folder = Folder(states_known=pick("states are known", (True, True, False)))
    has_store = pick("state store", (True, True, True, True, False))
    inline = pick("base64", (False, False, False, True))
    policies = ("fail", "fail", "fail", "resubmit")
    policy = pick("on_lost_submit of a folder", policies)
    tasks = [
        Task(
            world,
            gateway,
            f"t{number}",
            f"t{number}",
            _bodies(world, kind, inline),
            rates,
            retries=pick("retries", (1, 0, 2)),
            retry_delay=pick("retry delay", (60.0, 2.0, 4000.0, 86400.0)),
            deferrable=kind == "batch" or pick("deferrable", (True, True, False)),
            batch=kind == "batch",
            folder=folder if kind == "batch" else None,
            on_lost_submit=policy if kind == "batch" else pick("on_lost_submit", policies),
            stores=kind == "batch" or inline or pick("destination", (True, True, False)),
            has_store=has_store,
            timeout=pick("timeout", (600.0, 600.0, 3600.0)),
            uploads=kind == "single" and pick("uploads", (False, False, False, True)),
            limits=Limits(pick("requests_per_minute", (None, None, 2)), pick("max_in_flight", (100, 100, 1, 2))),
            read_only_until=world.now + pick("storage is read-only for", (0.0,) * 5 + (400.0, 5000.0)),
            objects=folder.objects if kind == "batch" else {},
            began_at=world.now - 5.0,
        )
        for number in range(count)
    ]
    folder.tasks.update({task.name: task for task in tasks})
    if kind == "batch":
        _another_run(world, folder, tasks)
    _noise(world, gateway)
    return gateway, tasks


def _another_run(world: World, folder: Folder, tasks: list[Task]) -> None:
    """Let the DAG run again into the same folder, perhaps under another name."""
    after = world.pick("runs again after", (0.0, 0.0, 0.0, 30.0, 5000.0, 2 * DAY))
    if not after:
        return
    first = tasks[0]
    renamed = world.pick("the task was renamed", (False, True))
    group = "new" if renamed else first.group
    again = replace(first, name=f"{first.name}b", group=group, payer=first.group, began_at=world.now + after,
                    store={}, processes=[], delivered=[], closed=set(), dead_urls=[], leaks=[])  # fmt: skip
    tasks.append(again)
    folder.tasks[again.name] = again

    def start() -> None:
        again.bodies = first.bodies
        again.wanted += first.bodies
        if renamed and not first.is_over:  # two tasks that work at once each pay for theirs
            world.at(world.now + 400.0, start)
        elif again.state == "none":
            again.clear()

    world.at(world.now + after, start)


def _bodies(world: World, kind: str, inline: bool) -> list[dict[str, Any]]:
    extra = {"base64": True} if inline else {}
    if kind == "single":
        return [{"image": world.pick("image", (_IMAGE, _IMAGE, _OTHER)), "scale": 2, **extra}]
    size = world.pick("items", (2, 1, 3, 2, 1, 5))
    return [
        {"image": f"https://b/{number}.jpg?X-Amz-Signature={SECRET}", "scale": 2, **extra} for number in range(size)
    ]


def _noise(world: World, gateway: Gateway) -> None:
    """Requests of teammates and of other tasks: with the same parameters, with more, with fewer."""
    others: tuple[tuple[dict[str, Any], bool] | None, ...] = (
        None,
        None,
        ({"image": _IMAGE, "scale": 2}, False),
        ({"image": _IMAGE, "scale": 2, "seed": 7}, True),
        ({"image": _IMAGE}, True),
        ({"image": _OTHER, "scale": 4}, True),
    )
    for after in (2.0, 30.0, 400.0):
        noise = world.pick("somebody submits", others)
        if noise is not None:
            body, ours = noise

            def submit(body: dict[str, Any] = body, ours: bool = ours) -> None:
                gateway.accept(body, None, ours=ours)

            world.at(world.now + after, submit)


# --- faults stop ------------------------------------------------------------------------------------------------------


def _calm(world: World, gateway: Gateway, tasks: Sequence[Task]) -> None:
    """Let faults stop, and the user clear what has failed: first as it is, then with the documented argument."""
    world.calm = True
    world.report("world", "faults stop")
    for task in tasks:
        task.retries = 0
    for number in range(_CALM_ROUNDS):
        open_ = [task for task in tasks if task.state != "success"]
        if not open_:
            return
        for place, task in enumerate(open_):
            if number >= 2 and isinstance(task.error, SegmindError):
                task.on_lost_submit = "resubmit"
            world.at(world.now + (1500.0 if number < 3 else DAY) + 900.0 * place, _cleared(task))
        world.run()


def _cleared(task: Task) -> Callable[[], None]:
    def clear() -> None:
        if task.state not in ("success", "running", "deferred"):
            task.clear()

    return clear


# --- what must hold ---------------------------------------------------------------------------------------------------


def _check(outcome: Outcome, gateway: Gateway, tasks: Sequence[Task]) -> None:
    for task in tasks:
        _check_bills(outcome, gateway, task)
        _check_delivered(outcome, gateway, task)
        _check_ended(outcome, task)
        _check_urls(outcome, task)
        _check_secrets(outcome, task)


def _check_bills(outcome: Outcome, gateway: Gateway, task: Task) -> None:
    """I1: a want is billed at most once, but for the stated exceptions."""
    bills: dict[Any, list[Request]] = {}
    for request in gateway.requests:
        if request.want is not None and request.want[0] == task.name and request.billed:
            bills.setdefault(request.want, []).append(request)
    for want, requests in bills.items():
        for earlier, later in itertools.pairwise(requests):
            why = _excuse(gateway, earlier, later)
            if why is None:
                apart = later.accepted_at - earlier.accepted_at
                both = f"{earlier.request_id} and for {later.request_id}, {apart:.0f} s later"
                outcome.violations.append(f"I1: {want} is billed for {both}")
            else:
                outcome.exceptions[why] += 1


def _excuse(gateway: Gateway, earlier: Request, later: Request) -> str | None:
    """Return the stated exception that allows the second bill; None where there is none."""
    apart = later.accepted_at - earlier.accepted_at
    hidden = gateway.lag is None or apart < gateway.lag + _ASKED_BEFORE
    before = [one for one in gateway.requests if one.want == later.want and one.accepted_at < later.accepted_at]
    if apart > 7 * DAY - HOUR:
        return "the output was deleted before it could be delivered"
    if hidden and any(one.outcome == "error" for one in before):
        return "Segmind billed a submit with an error response, and listed it late"
    if hidden and later.resubmits:
        return "on_lost_submit='resubmit', and the history was later than lost_submit_wait"
    if later.resubmits and earlier.inline and apart > HOUR - 300.0:
        return "on_lost_submit='resubmit', and the output was in an expired record"
    if later.resubmits and gateway.pending and apart > DAY - HOUR:
        return "on_lost_submit='resubmit', and the history reported it as pending for more than a day"
    if later.run != earlier.run and hidden:
        return "nothing was remembered, and the history did not show it"
    if later.forgetful and (gateway.lag is None or apart < gateway.lag + _PAUSED):
        return "nothing was remembered, and the history did not show it"
    return None


def _check_delivered(outcome: Outcome, gateway: Gateway, task: Task) -> None:
    """I3: a delivered result belongs to a request of ours with exactly the wanted parameters."""
    keys = {key_for(body, uploads=task.uploads) for body in task.wanted}
    for generation, value in task.delivered:
        for found in value if isinstance(value, list) else [value]:
            request = gateway.find(found["request_id"])
            if request is None:
                outcome.violations.append(f"I3: {task.name} delivers {found['request_id']}, which is not ours")
                continue
            parameters = request.parameters
            if task.uploads:
                content = gateway.uploads.get(str(parameters.get("image")), b"").decode()
                parameters = {**parameters, "image": content}
            if key_for(parameters, uploads=task.uploads) not in keys:
                outcome.violations.append(f"I3: {task.name} delivers {request.request_id}: {request.parameters}")
            if not task.batch and generation - 1 in task.closed and task.has_store and not task.unsure:
                before = {one["request_id"] for number, one in task.delivered if number < generation}
                if request.request_id in before:
                    outcome.violations.append(f"I7: {task.name} delivers {request.request_id} of an earlier want again")


def _check_ended(outcome: Outcome, task: Task) -> None:
    """I4: once faults have stopped every want is delivered, at the latest with the documented argument."""
    if task.state != "success":
        outcome.violations.append(f"I4: {task.name} ends {task.state} with {task.error!r}")


def _check_urls(outcome: Outcome, task: Task) -> None:
    """I4: what is delivered leads somewhere."""
    for request_id in task.dead_urls:
        outcome.violations.append(f"I4: {task.name} delivers the URL of {request_id}, which is dead")


def _check_secrets(outcome: Outcome, task: Task) -> None:
    outcome.violations += task.leaks
    if SECRET in json.dumps(task.store):
        outcome.violations.append(f"I9: a record of {task.name} holds a signature")
    if task.folder and any(SECRET in text for text in task.folder.files.values()):
        outcome.violations.append("I9: a file of the folder holds a signature")
