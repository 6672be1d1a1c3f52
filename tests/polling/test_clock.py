"""Setting the machine's clock during a wait moves neither its deadline nor its polls."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace

import pytest

from airflow_provider_segmind.polling import clock as clocks
from airflow_provider_segmind.polling import drivers, limits, poll_budget, rate_limiter
from airflow_provider_segmind.polling.clock import steady_clock
from airflow_provider_segmind.polling.drivers import adrive, drive, wait_for_request
from airflow_provider_segmind.polling.limits import ConnectionLimits
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.polling.poll_budget import PollBudget
from airflow_provider_segmind.polling.rate_limiter import RateLimiter
from airflow_provider_segmind.protocol.wire import RequestState, RequestStatus

NOW = 1_800_000_000.0
TWO_HOURS = 7200.0


class Machine:
    """The two clocks of a machine: the wall clock can be set, the steady one cannot."""

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
    """asyncio for one module: the emulator's thread uses the real ``asyncio.sleep``."""

    def __init__(self, machine):
        self.sleep = machine.asleep

    def __getattr__(self, name):
        return getattr(asyncio, name)


@pytest.fixture
def machine(monkeypatch):
    one = Machine()
    for module in (clocks, drivers, limits, poll_budget, rate_limiter):
        monkeypatch.setattr(module, "time", one)
    for module in (limits, rate_limiter):
        monkeypatch.setattr(module, "asyncio", Asyncio(one))
    monkeypatch.setattr(drivers, "_to_next_tick", lambda seconds: seconds)
    return one


def test_the_steady_clock_ignores_that_the_clock_was_set(machine):
    clock = steady_clock()
    assert clock() == NOW
    machine.sleep(10)
    machine.wall -= TWO_HOURS
    assert clock() == NOW + 10
    machine.wall += 5 * TWO_HOURS
    assert clock() == NOW + 10


class Gateway:
    """Responds to every poll with PROCESSING, and sets the clock at the third."""

    def __init__(self, machine, step, **settings):
        self.machine, self.step, self.polled = machine, step, []
        self.settings = SimpleNamespace(polls_per_minute=None, **settings)

    def send(self, call, *, budget=None):
        self.polled.append(self.machine.steady - 50.0)
        if len(self.polled) == 3:
            self.machine.wall += self.step
        return RequestStatus(request_id=call.request_id, state=RequestState.PROCESSING)


class AsyncGateway(Gateway):
    """The same as a shared client."""

    async def get(self):
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
        adrive(watch().steps(steady_clock()), gateway, ConnectionLimits(poll_budget=PollBudget(budget)), machine.asleep)
    )
    assert event.kind == "timeout"
    assert gateway.polled[-1] <= 70
    assert len(gateway.polled) >= 10


@pytest.mark.parametrize("step", [-TWO_HOURS, TWO_HOURS])
def test_setting_the_clock_does_not_move_the_end_of_a_rate_limit(machine, step):
    limiter = RateLimiter()
    limiter.close(NOW + 30)
    machine.sleep(10)
    machine.wall += step
    asyncio.run(limiter.wait_until_open(NOW + 10 * TWO_HOURS))
    assert 80 <= machine.steady < 82


def test_a_small_correction_of_the_clock_moves_nothing(machine):
    limiter = RateLimiter()
    limiter.close(NOW + 30)
    machine.wall += 0.5
    assert limiter._now() == NOW + 0.5
    assert limiter.closed_until == NOW + 30


def test_a_wait_uses_the_steady_clock(airflow_db, segmind_emulator, monkeypatch):
    """A wait against the emulator, with the clock set back by two hours after the first poll."""
    from airflow_provider_segmind.hooks.segmind import SegmindHook

    segmind_emulator.faults.add("submit", "stuck")
    real, step = time.time, 0.0

    def set_back(state, seconds):
        nonlocal step
        step = -TWO_HOURS

    with SegmindHook() as hook:
        request_id = hook.submit("echo-model", {"prompt": "x"}).request_id
        monkeypatch.setattr(clocks, "time", SimpleNamespace(time=lambda: real() + step, monotonic=time.monotonic))
        now, began = real(), time.monotonic()
        event = wait_for_request(hook, Watch(request_id, "echo-model", now, now + 1.5, 0.25, on_progress=set_back))
    assert step
    assert event.kind == "timeout"
    assert time.monotonic() - began < 30
