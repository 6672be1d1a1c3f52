"""The gate: closed until the reset, then one by one, at the pace that the resets show."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from airflow_provider_segmind.polling import drivers
from airflow_provider_segmind.polling import rate_limiter as limiters
from airflow_provider_segmind.polling.rate_limiter import RateLimiter, rate_limiter_for, read_limit, write_limit


def check_one_by_one(passed: list[float], *, start: float, pace: float) -> None:
    """No slot is used before its time. A busy machine may use one later, and so closer to the next."""
    early = [(number, at) for number, at in enumerate(passed) if at < start + number * pace - 0.005]
    assert early == []


def test_one_by_one_after_the_reset():
    async def run():
        limiter = RateLimiter(pace=0.05)
        start = time.time()
        limiter.close(start + 0.2)
        passed: list[float] = []

        async def one():
            await limiter.take_slot(start + 30)
            passed.append(time.time() - start)

        await asyncio.gather(*(one() for _ in range(6)))
        return passed

    passed = sorted(asyncio.run(run()))
    check_one_by_one(passed, start=0.2, pace=0.05)
    assert passed[-1] < 20


def test_a_deadline_ends_the_wait():
    async def run():
        limiter = RateLimiter()
        limiter.close(time.time() + 60)
        await limiter.take_slot(time.time() + 0.1)
        await limiter.wait_open(time.time() + 0.1)

    started = time.time()
    asyncio.run(run())
    assert time.time() - started < 30


def test_the_pace_is_learnt_from_those_that_come_back():
    limiter = RateLimiter(pace=1.25)
    limiter._passed = 6  # five fitted, the sixth came back
    until = time.time() + 50
    limiter.refused_again(until)
    assert limiter.pace == pytest.approx(1.05 * 60 / 5)
    limiter.refused_again(until)
    limiter.refused_again(until - 1)
    assert limiter.pace == pytest.approx(1.05 * 60 / 5)
    assert limiter.closed_until == until


def test_a_few_that_come_back_report_little():
    limiter = RateLimiter(pace=1.25)
    limiter._passed = 2
    limiter.refused_again(time.time() + 50)
    assert limiter.pace == 1.25


def test_closed_meanwhile_they_queue_up_again_one_by_one():
    async def run():
        limiter = RateLimiter(pace=0.05)
        start = time.time()
        limiter.close(start + 0.5)
        passed: list[float] = []

        async def one():
            await limiter.take_slot(start + 30)
            passed.append(time.time() - start)

        drivers = [asyncio.create_task(one()) for _ in range(8)]
        await asyncio.sleep(0)  # each has its first slot now
        limiter.close(start + 0.8)
        await asyncio.gather(*drivers)
        return sorted(passed)

    check_one_by_one(asyncio.run(run()), start=0.8, pace=0.05)


def passes(limiter: RateLimiter, waits: int, polls: int, deadline: float) -> list[tuple[float, int]]:
    """When (seconds from the start) each of so many waits passes for each of its looks."""

    async def run():
        start = time.time()
        passed: list[tuple[float, int]] = []

        async def one(number):
            for _ in range(polls):
                await limiter.wait_for_poll(start + deadline)
                passed.append((time.time() - start, number))

        await asyncio.gather(*(one(number) for number in range(waits)))
        return passed

    return asyncio.run(run())


def test_polls_share_a_budget_and_each_wait_gets_its_turn():
    limiter = RateLimiter(polls_per_minute=1200)
    passed = passes(limiter, waits=5, polls=3, deadline=30)
    assert passed[-1][0] >= 14 * 0.05 - 0.01
    assert [number for _, number in passed] == [0, 1, 2, 3, 4] * 3


def test_without_a_budget_polls_pass_at_once():
    assert passes(RateLimiter(), waits=100, polls=3, deadline=30)[-1][0] < 20


def test_the_last_poll_is_made_whatever_the_budget():
    """The request is paid for; a look more is not worth its picture."""
    passed = passes(RateLimiter(polls_per_minute=1), waits=3, polls=1, deadline=0.2)
    assert len(passed) == 3
    assert passed[-1][0] < 20


def test_what_was_not_waited_for_counts_too():
    limiter = RateLimiter(polls_per_minute=600)

    async def run():
        start = time.time()
        for _ in range(3):
            limiter.count_poll()  # a result follows its look at once
        await limiter.wait_for_poll(start + 30)
        return time.time() - start

    assert asyncio.run(run()) >= 0.29


def test_polls_wake_the_loop_in_ticks():
    """A thousand sparse timers cost more in wake-ups than in looks."""

    async def run():
        now = asyncio.get_running_loop().time()
        return [now + drivers._to_next_tick(i / 997) for i in range(997)], now

    moments, now = asyncio.run(run())
    assert len({round(moment / drivers._TICK) for moment in moments}) <= 1 / drivers._TICK + 2
    for i, moment in enumerate(moments):
        assert -1e-6 <= moment - (now + i / 997) <= drivers._TICK + 0.01


def test_one_limiter_for_each_loop_and_connection():
    async def run():
        assert rate_limiter_for("a") is rate_limiter_for("a")
        assert rate_limiter_for("a") is not rate_limiter_for("b")
        return rate_limiter_for("a")

    assert asyncio.run(run()) is not asyncio.run(run())


def test_a_note_reports_the_other_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(limiters.tempfile, "gettempdir", lambda: str(tmp_path))
    until = time.time() + 30
    write_limit("https://g", "c", until)
    assert read_limit("https://g", "c") == until
    assert read_limit("https://g", "other") == 0
    [note] = tmp_path.iterdir()
    for content in ("", "x", "nan", "1e300", "-5", str(time.time() - 1)):
        note.write_text(content)
        assert read_limit("https://g", "c") == 0


@pytest.mark.skipif(os.getuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written_is_not_a_error(tmp_path, monkeypatch):
    tmp_path.chmod(0o500)
    monkeypatch.setattr(limiters.tempfile, "gettempdir", lambda: str(tmp_path))
    write_limit("https://g", "c", time.time() + 30)
    assert read_limit("https://g", "c") == 0
