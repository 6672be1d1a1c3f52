"""A clock that is set in the middle of a wait moves neither its deadline nor its polls (issue 13, row 19)."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from airflow_provider_segmind.polling import drivers
from airflow_provider_segmind.polling import rate_limiter as limiters
from airflow_provider_segmind.polling.drivers import adrive, drive, steady_clock
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.polling.rate_limiter import RateLimiter
from airflow_provider_segmind.protocol.wire import RequestState, RequestStatus

NOW = 1_800_000_000.0
TWO_HOURS = 7200.0


class Machine:
    """This machine's two clocks: one that is set, and one that is not."""

    def __init__(self):
        self.wall, self.steady = NOW, 50.0

    def time(self):
        return self.wall

    def monotonic(self):
        return self.steady

    def sleep(self, seconds):
        self.wall += seconds
        self.steady += seconds

    async def asleep(self, seconds):
        self.sleep(seconds)


class Asyncio:
    """asyncio for one module: the real ``asyncio.sleep`` also belongs to the emulator's thread."""

    def __init__(self, machine):
        self.sleep = machine.asleep

    def __getattr__(self, name):
        return getattr(asyncio, name)


@pytest.fixture
def machine(monkeypatch):
    one = Machine()
    for module in (drivers, limiters):
        monkeypatch.setattr(module, "time", one)
    monkeypatch.setattr(limiters, "asyncio", Asyncio(one))
    monkeypatch.setattr(drivers, "_to_next_tick", lambda seconds: seconds)
    return one


def test_the_steady_clock_reports_the_time_and_is_not_moved(machine):
    clock = steady_clock()
    assert clock() == NOW
    machine.sleep(10)
    machine.wall -= TWO_HOURS
    assert clock() == NOW + 10
    machine.wall += 5 * TWO_HOURS
    assert clock() == NOW + 10


class Gateway:
    """Answers every poll with PROCESSING, and sets the clock with the third."""

    def __init__(self, machine, step, **settings):
        self.machine, self.step, self.polled = machine, step, []
        self.settings = SimpleNamespace(polls_per_minute=None, **settings)

    def send(self, call, *, budget=None):
        self.polled.append(self.machine.steady - 50.0)
        if len(self.polled) == 3:
            self.machine.wall += self.step
        return RequestStatus(request_id=call.request_id, state=RequestState.PROCESSING)


class AsyncGateway(Gateway):
    """The same as a lease of a client."""

    async def client(self):
        return self

    async def send(self, call, *, budget=None):
        return Gateway.send(self, call)


def watch():
    return Watch("r-1", "echo-model", NOW, NOW + 60, poll_interval=5.0)


@pytest.mark.parametrize("step", [0.0, -TWO_HOURS, TWO_HOURS])
def test_a_wait_in_a_task(machine, step):
    gateway, clock = Gateway(machine, step), steady_clock()
    event = drive(watch().steps(clock), gateway, machine.sleep, clock)
    assert event.kind == "timeout"
    assert gateway.polled[-1] == pytest.approx(60)
    assert 12 <= len(gateway.polled) <= 13


@pytest.mark.parametrize("budget", [None, 20.0])
@pytest.mark.parametrize("step", [0.0, -TWO_HOURS, TWO_HOURS])
def test_a_wait_in_a_triggerer(machine, step, budget):
    gateway = AsyncGateway(machine, step)
    gateway.settings.polls_per_minute = budget
    event = asyncio.run(
        adrive(watch().steps(steady_clock()), gateway, RateLimiter(polls_per_minute=budget), machine.asleep)
    )
    assert event.kind == "timeout"
    assert gateway.polled[-1] <= 70
    assert len(gateway.polled) >= 10


@pytest.mark.parametrize("step", [-TWO_HOURS, TWO_HOURS])
def test_a_rate_limit_ends_when_it_would_have(machine, step):
    limiter = RateLimiter()
    limiter.close(NOW + 30)
    machine.sleep(10)
    machine.wall += step
    asyncio.run(limiter.wait_open(NOW + 10 * TWO_HOURS))
    assert 80 <= machine.steady < 82


def test_a_clock_that_is_only_corrected_moves_nothing(machine):
    limiter = RateLimiter()
    limiter.close(NOW + 30)
    machine.wall += 0.5
    assert limiter._now() == NOW + 0.5
    assert limiter.closed_until == NOW + 30


def test_the_hook_waits_by_the_steady_clock(airflow_db, segmind_emulator, monkeypatch):
    """A real wait, while the machine's clock is set back by two hours after its first poll."""
    from airflow_provider_segmind.hooks.segmind import SegmindHook

    segmind_emulator.faults.add("submit", "stuck")
    real, step = time.time, 0.0

    def set_back(state):
        nonlocal step
        step = -TWO_HOURS

    with SegmindHook() as hook:
        request_id = hook.submit("echo-model", {"prompt": "x"}).request_id
        monkeypatch.setattr(drivers, "time", SimpleNamespace(time=lambda: real() + step, monotonic=time.monotonic))
        now, began = real(), time.monotonic()
        event = hook.watch(Watch(request_id, "echo-model", now, now + 1.5, 0.25, on_state=set_back))
    assert step
    assert event.kind == "timeout"
    assert time.monotonic() - began < 30
