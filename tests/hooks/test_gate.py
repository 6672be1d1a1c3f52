"""The gate: closed until the reset, then one by one, at the pace that the resets show."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from airflow_provider_segmind.hooks import gate as gates
from airflow_provider_segmind.hooks import waiting
from airflow_provider_segmind.hooks.gate import Gate, gate_for, note_closed, noted_closed


def check_one_by_one(passed: list[float], *, start: float, pace: float) -> None:
    """No slot is used before its time. A busy machine may use one later, and so closer to the next."""
    early = [(number, at) for number, at in enumerate(passed) if at < start + number * pace - 0.005]
    assert early == []


def test_one_by_one_after_the_reset():
    async def run():
        gate = Gate(pace=0.05)
        start = time.time()
        gate.close(start + 0.2)
        passed: list[float] = []

        async def one():
            await gate.take_slot(start + 30)
            passed.append(time.time() - start)

        await asyncio.gather(*(one() for _ in range(6)))
        return passed

    passed = sorted(asyncio.run(run()))
    check_one_by_one(passed, start=0.2, pace=0.05)
    assert passed[-1] < 20


def test_a_deadline_ends_the_wait():
    async def run():
        gate = Gate()
        gate.close(time.time() + 60)
        await gate.take_slot(time.time() + 0.1)
        await gate.wait_open(time.time() + 0.1)

    started = time.time()
    asyncio.run(run())
    assert time.time() - started < 30


def test_the_pace_is_learnt_from_those_that_come_back():
    gate = Gate(pace=1.25)
    gate._passed = 6  # five fitted, the sixth came back
    until = time.time() + 50
    gate.came_back(until)
    assert gate.pace == pytest.approx(1.05 * 60 / 5)
    gate.came_back(until)
    gate.came_back(until - 1)
    assert gate.pace == pytest.approx(1.05 * 60 / 5)
    assert gate.closed_until == until


def test_a_few_that_come_back_say_little():
    gate = Gate(pace=1.25)
    gate._passed = 2
    gate.came_back(time.time() + 50)
    assert gate.pace == 1.25


def test_closed_meanwhile_they_queue_up_again_one_by_one():
    async def run():
        gate = Gate(pace=0.05)
        start = time.time()
        gate.close(start + 0.5)
        passed: list[float] = []

        async def one():
            await gate.take_slot(start + 30)
            passed.append(time.time() - start)

        waiting = [asyncio.create_task(one()) for _ in range(8)]
        await asyncio.sleep(0)  # each has its first slot now
        gate.close(start + 0.8)
        await asyncio.gather(*waiting)
        return sorted(passed)

    check_one_by_one(asyncio.run(run()), start=0.8, pace=0.05)


def passes(gate: Gate, waits: int, looks: int, deadline: float) -> list[tuple[float, int]]:
    """When (seconds from the start) each of so many waits passes for each of its looks."""

    async def run():
        start = time.time()
        passed: list[tuple[float, int]] = []

        async def one(number):
            for _ in range(looks):
                await gate.wait_for_poll(start + deadline)
                passed.append((time.time() - start, number))

        await asyncio.gather(*(one(number) for number in range(waits)))
        return passed

    return asyncio.run(run())


def test_polls_share_a_budget_and_each_wait_gets_its_turn():
    gate = Gate(polls_per_minute=1200)
    passed = passes(gate, waits=5, looks=3, deadline=30)
    assert passed[-1][0] >= 14 * 0.05 - 0.01
    assert [number for _, number in passed] == [0, 1, 2, 3, 4] * 3


def test_without_a_budget_polls_pass_at_once():
    assert passes(Gate(), waits=100, looks=3, deadline=30)[-1][0] < 20


def test_the_last_look_is_made_whatever_the_budget():
    """The request is paid for; a look more is not worth its picture."""
    passed = passes(Gate(polls_per_minute=1), waits=3, looks=1, deadline=0.2)
    assert len(passed) == 3
    assert passed[-1][0] < 20


def test_what_was_not_waited_for_counts_too():
    gate = Gate(polls_per_minute=600)

    async def run():
        start = time.time()
        for _ in range(3):
            gate.count_poll()  # a result follows its look at once
        await gate.wait_for_poll(start + 30)
        return time.time() - start

    assert asyncio.run(run()) >= 0.29


def test_looks_wake_the_loop_in_ticks():
    """A thousand sparse timers cost more in wake-ups than in looks."""

    async def run():
        now = asyncio.get_running_loop().time()
        return [now + waiting._to_next_tick(i / 997) for i in range(997)], now

    moments, now = asyncio.run(run())
    assert len({round(moment / waiting._TICK) for moment in moments}) <= 1 / waiting._TICK + 2
    for i, moment in enumerate(moments):
        assert -1e-6 <= moment - (now + i / 997) <= waiting._TICK + 0.01


def test_one_gate_for_each_loop_and_connection():
    async def run():
        assert gate_for("a") is gate_for("a")
        assert gate_for("a") is not gate_for("b")
        return gate_for("a")

    assert asyncio.run(run()) is not asyncio.run(run())


def test_a_note_tells_the_other_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(gates.tempfile, "gettempdir", lambda: str(tmp_path))
    until = time.time() + 30
    note_closed("https://g", "c", until)
    assert noted_closed("https://g", "c") == until
    assert noted_closed("https://g", "other") == 0
    [note] = tmp_path.iterdir()
    for content in ("", "x", "nan", "1e300", "-5", str(time.time() - 1)):
        note.write_text(content)
        assert noted_closed("https://g", "c") == 0


@pytest.mark.skipif(os.getuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    tmp_path.chmod(0o500)
    monkeypatch.setattr(gates.tempfile, "gettempdir", lambda: str(tmp_path))
    note_closed("https://g", "c", time.time() + 30)
    assert noted_closed("https://g", "c") == 0
