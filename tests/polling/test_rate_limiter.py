"""Rate limit, poll budget and limit file: closed until the reset, then one submit per interval."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from airflow_provider_segmind.polling import drivers, limit_file
from airflow_provider_segmind.polling.limit_file import read_limit, write_limit
from airflow_provider_segmind.polling.limits import ConnectionLimits, limits_of
from airflow_provider_segmind.polling.poll_budget import PollBudget
from airflow_provider_segmind.polling.rate_limiter import RateLimiter


def check_one_per_interval(sent: list[float], *, start: float, interval: float) -> None:
    """Check that no submit is early. A busy machine may send one late, and so closer to the next."""
    early = [(number, at) for number, at in enumerate(sent) if at < start + number * interval - 0.005]
    assert early == []


def test_one_submit_per_interval_after_the_reset():
    async def run():
        limiter = RateLimiter(submit_interval=0.05)
        start = time.time()
        limiter.close(start + 0.2)
        sent: list[float] = []

        async def one():
            await limiter.wait_for_submit(start + 30)
            sent.append(time.time() - start)

        await asyncio.gather(*(one() for _ in range(6)))
        return sent

    sent = sorted(asyncio.run(run()))
    check_one_per_interval(sent, start=0.2, interval=0.05)
    assert sent[-1] < 20


def test_the_deadline_ends_the_wait():
    async def run():
        limiter = RateLimiter()
        limiter.close(time.time() + 60)
        await limiter.wait_for_submit(time.time() + 0.1)
        await limiter.wait_until_open(time.time() + 0.1)

    started = time.time()
    asyncio.run(run())
    assert time.time() - started < 30


def test_the_interval_is_adjusted_after_a_refusal():
    limiter = RateLimiter(submit_interval=1.25)
    limiter._submits = 6  # five were accepted, the sixth was refused
    until = time.time() + 50
    limiter.refused_again(until)
    assert limiter.submit_interval == pytest.approx(1.05 * 60 / 5)
    limiter.refused_again(until)
    limiter.refused_again(until - 1)
    assert limiter.submit_interval == pytest.approx(1.05 * 60 / 5)
    assert limiter.closed_until == until


def test_few_submits_do_not_adjust_the_interval():
    limiter = RateLimiter(submit_interval=1.25)
    limiter._submits = 2
    limiter.refused_again(time.time() + 50)
    assert limiter.submit_interval == 1.25


def test_submits_that_wait_while_the_limit_is_exceeded_again_keep_the_interval():
    async def run():
        limiter = RateLimiter(submit_interval=0.05)
        start = time.time()
        limiter.close(start + 0.5)
        sent: list[float] = []

        async def one():
            await limiter.wait_for_submit(start + 30)
            sent.append(time.time() - start)

        tasks = [asyncio.create_task(one()) for _ in range(8)]
        await asyncio.sleep(0)  # now each has its first slot
        limiter.close(start + 0.8)
        await asyncio.gather(*tasks)
        return sorted(sent)

    check_one_per_interval(asyncio.run(run()), start=0.8, interval=0.05)


def polls_of(limits: ConnectionLimits, waits: int, polls: int, deadline: float) -> list[tuple[float, int]]:
    """Return when (seconds from the start) which wait sends a poll."""

    async def run():
        start = time.time()
        sent: list[tuple[float, int]] = []

        async def one(number):
            for _ in range(polls):
                await limits.wait_for_poll(start + deadline)
                sent.append((time.time() - start, number))

        await asyncio.gather(*(one(number) for number in range(waits)))
        return sent

    return asyncio.run(run())


def test_waits_share_the_poll_budget_in_turn():
    sent = polls_of(ConnectionLimits(poll_budget=PollBudget(1200)), waits=5, polls=3, deadline=30)
    assert sent[-1][0] >= 14 * 0.05 - 0.01
    assert [number for _, number in sent] == [0, 1, 2, 3, 4] * 3


def test_without_a_budget_polls_are_sent_at_once():
    assert polls_of(ConnectionLimits(), waits=100, polls=3, deadline=30)[-1][0] < 20


def test_the_last_poll_is_sent_whatever_the_budget():
    """The request is billed, so its result is worth a poll beyond the budget."""
    sent = polls_of(ConnectionLimits(poll_budget=PollBudget(1)), waits=3, polls=1, deadline=0.2)
    assert len(sent) == 3
    assert sent[-1][0] < 20


def test_a_call_without_a_wait_counts_too():
    limits = ConnectionLimits(poll_budget=PollBudget(600))

    async def run():
        start = time.time()
        for _ in range(3):
            limits.poll_budget.count()  # a result is fetched right after its poll
        await limits.wait_for_poll(start + 30)
        return time.time() - start

    assert asyncio.run(run()) >= 0.29


def test_polls_wake_the_loop_in_ticks():
    """A thousand timers of their own cost more CPU than the polls."""

    async def run():
        now = asyncio.get_running_loop().time()
        return [now + drivers._to_next_tick(i / 997) for i in range(997)], now

    moments, now = asyncio.run(run())
    assert len({round(moment / drivers._TICK) for moment in moments}) <= 1 / drivers._TICK + 2
    for i, moment in enumerate(moments):
        assert -1e-6 <= moment - (now + i / 997) <= drivers._TICK + 0.01


def test_each_event_loop_and_connection_has_its_own_limits():
    async def run():
        assert limits_of("a") is limits_of("a")
        assert limits_of("a") is not limits_of("b")
        return limits_of("a")

    assert asyncio.run(run()) is not asyncio.run(run())


def test_the_limit_file_is_shared_by_connection(tmp_path, monkeypatch):
    monkeypatch.setattr(limit_file.tempfile, "gettempdir", lambda: str(tmp_path))
    until = time.time() + 30
    write_limit("https://g", "c", until)
    assert read_limit("https://g", "c") == until
    assert read_limit("https://g", "other") == 0
    [path] = tmp_path.iterdir()
    for content in ("", "x", "nan", "1e300", "-5", str(time.time() - 1)):
        path.write_text(content)
        assert read_limit("https://g", "c") == 0


@pytest.mark.skipif(os.getuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_not_an_error(tmp_path, monkeypatch):
    tmp_path.chmod(0o500)
    monkeypatch.setattr(limit_file.tempfile, "gettempdir", lambda: str(tmp_path))
    write_limit("https://g", "c", time.time() + 30)
    assert read_limit("https://g", "c") == 0
