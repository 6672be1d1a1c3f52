"""The gate: closed until the reset, then one by one, at the pace that the resets show."""

from __future__ import annotations

import asyncio
import itertools
import os
import time

import pytest

from airflow_provider_segmind.hooks import gate as gates
from airflow_provider_segmind.hooks.gate import Gate, gate_for, note_closed, noted_closed


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
    assert passed[0] >= 0.2
    gaps = [later - earlier for earlier, later in itertools.pairwise(passed)]
    assert min(gaps) > 0.03
    assert passed[-1] < 2


def test_a_deadline_ends_the_wait():
    async def run():
        gate = Gate()
        gate.close(time.time() + 60)
        await gate.take_slot(time.time() + 0.1)
        await gate.wait_open(time.time() + 0.1)

    started = time.time()
    asyncio.run(run())
    assert time.time() - started < 2


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
        gate.close(start + 0.1)
        passed: list[float] = []

        async def one():
            await gate.take_slot(start + 30)
            passed.append(time.time() - start)

        waiting = [asyncio.create_task(one()) for _ in range(8)]
        await asyncio.sleep(0.05)
        gate.close(start + 0.4)
        await asyncio.gather(*waiting)
        return sorted(passed)

    passed = asyncio.run(run())
    assert passed[0] >= 0.4
    assert min(later - earlier for earlier, later in itertools.pairwise(passed)) > 0.03


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
