"""The shared client: created once per event loop, closed by its last user, replaced when the connection changes."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from airflow_provider_segmind.exceptions import SegmindAuthError, SegmindConfigError
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.polling import durations, shared_client
from airflow_provider_segmind.polling.drivers import await_request, wait_for_request
from airflow_provider_segmind.polling.durations import durations_of
from airflow_provider_segmind.polling.limits import limits_of
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.polling.shared_client import SharedClient
from airflow_provider_segmind.protocol.settings import connection_settings

KEY, OTHER_KEY = "SG_0123456789abcdef", "SG_fedcba9876543210"


class Reader:
    """Reads a connection that may change, and counts the reads."""

    def __init__(self):
        self.values, self.reads, self.error = {"api_key": KEY, "gateway": "http://127.0.0.1:9"}, 0, None

    async def __call__(self):
        self.reads += 1
        await asyncio.sleep(0.01)
        if self.error:
            raise self.error
        return connection_settings(self.values, where="test")


def is_closed(client):
    """Return whether a client is closed. It opens its session at the first call, so this function opens it."""
    if client._free is None:
        client._free = client._session()
    return client._free.closed


@pytest.fixture
def reader():
    return Reader()


def test_a_thousand_waits_read_once_and_share_one_client(reader):
    async def run():
        users = [SharedClient("c", reader) for _ in range(1000)]
        clients = set(await asyncio.gather(*(user.get() for user in users)))
        for user in users:
            await user.release()
        return clients

    assert len(asyncio.run(run())) == 1
    assert reader.reads == 1


def test_the_poll_budget_is_set_before_the_first_call(reader):
    """A thousand waits of a triggerer that starts must not poll without it."""
    reader.values["polls_per_minute"] = 30

    async def run():
        user = SharedClient("c", reader)
        await user.get()
        await user.release()
        return limits_of("c").poll_budget.polls_per_minute, limits_of("other").poll_budget.polls_per_minute

    assert asyncio.run(run()) == (30, None)


def test_the_last_user_closes_the_client(reader):
    async def run():
        first, second = SharedClient("c", reader), SharedClient("c", reader)
        client = await first.get()
        assert await second.get() is client
        await first.release()
        await first.release()  # a second release has no effect
        open_still = not is_closed(client)
        await second.release()
        closed_by_last = is_closed(client)
        third = SharedClient("c", reader)
        another = await third.get()
        await third.release()
        return open_still, closed_by_last, another is not client

    assert asyncio.run(run()) == (True, True, True)


def test_each_connection_and_event_loop_has_its_own_client(reader):
    async def run():
        a, b = SharedClient("a", reader), SharedClient("b", reader)
        found = await a.get(), await b.get()
        await a.release()
        await b.release()
        return found

    clients = {*asyncio.run(run()), *asyncio.run(run())}
    assert len(clients) == 4


def test_after_a_change_all_users_get_the_new_client_at_their_next_call(reader, monkeypatch):
    monkeypatch.setattr(shared_client, "_MAX_AGE", 0.0)

    async def run():
        old, new = SharedClient("c", reader), SharedClient("c", reader)
        before = await old.get()
        is_closed(before)
        reader.values["api_key"] = OTHER_KEY
        after = await new.get()
        moved = await old.get()
        left = is_closed(before)
        is_closed(after)
        await old.release()
        await new.release()
        left_by_all = is_closed(after)
        return before is not after, moved is after, left, left_by_all

    assert asyncio.run(run()) == (True, True, True, True)


def test_an_unchanged_connection_keeps_its_client(reader, monkeypatch):
    monkeypatch.setattr(shared_client, "_MAX_AGE", 0.0)

    async def run():
        first, second = SharedClient("c", reader), SharedClient("c", reader)
        same = await first.get() is await second.get()
        await first.release()
        await second.release()
        return same

    assert asyncio.run(run())
    assert reader.reads == 2


def test_a_connection_that_cannot_be_read_again_keeps_its_client(reader, monkeypatch):
    monkeypatch.setattr(shared_client, "_MAX_AGE", 0.0)

    async def run():
        first, second = SharedClient("c", reader), SharedClient("c", reader)
        client = await first.get()
        reader.error = SegmindConfigError("the secrets backend is down")
        same = await second.get() is client
        await first.release()
        await second.release()
        with pytest.raises(SegmindConfigError):
            await SharedClient("c", reader).get()
        return same

    assert asyncio.run(run())


def test_durations_are_shared_by_connection_and_model():
    assert durations_of("c", "esrgan") is durations_of("c", "esrgan")
    assert durations_of("c", "esrgan") is not durations_of("c", "nomos-upscaler")
    assert durations_of("c", "esrgan") is not durations_of("d", "esrgan")


# --- in a wait, with the emulator ----------------------------------------------------------------------------------


def watch_for(request_id, **values):
    now = time.time()
    return Watch(request_id=request_id, model="echo-model", submitted_at=now, deadline=now + 20, **values)


@pytest.fixture
def connection(airflow_db, segmind_emulator, monkeypatch):
    def set_key(key, **extra):
        value = {"conn_type": "segmind", "host": segmind_emulator.url, "password": key, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_ROTATED", json.dumps(value))

    set_key(KEY)
    return set_key


def test_a_key_that_is_rotated_during_a_wait(connection, segmind_emulator):
    """The old key is refused: the connection is read again, and the wait continues with the new key."""
    with SegmindHook("rotated") as hook:
        request_id = hook.submit("echo-model", {"prompt": "x"}).request_id

    async def run():
        async with SharedClient("rotated") as client:
            await client.get()
            connection(OTHER_KEY)
            segmind_emulator.faults.add("status", "status:401", times=1)
            return await await_request(client, watch_for(request_id, poll_interval=0.25))

    assert asyncio.run(run()).kind == "fetch"
    assert segmind_emulator.stats.polls == 2  # one with each key


@pytest.mark.parametrize(("timeout", "polls"), [(0, {1}), (1, {3, 4, 5})])
def test_a_key_that_is_refused_and_has_not_changed(connection, segmind_emulator, timeout, polls):
    """It is tolerated for the connection's ``poll_error_timeout``. Then another try may have another key."""
    connection(KEY, poll_error_timeout=timeout)
    with SegmindHook("rotated") as hook:
        request_id = hook.submit("echo-model", {"prompt": "x"}).request_id

    async def run():
        async with SharedClient("rotated") as client:
            segmind_emulator.faults.add("status", "status:401")
            return await await_request(client, watch_for(request_id, poll_interval=0.25))

    event = asyncio.run(run())
    assert event.error["type"] == SegmindAuthError.__name__
    assert event.error["retryable"]
    assert segmind_emulator.stats.polls in polls


def test_a_task_process_tolerates_refusals_too(connection, segmind_emulator):
    connection(KEY, poll_error_timeout=1)
    with SegmindHook("rotated") as hook:
        request_id = hook.submit("echo-model", {"prompt": "x"}).request_id
        segmind_emulator.faults.add("status", "status:403", times=2)
        assert wait_for_request(hook, watch_for(request_id, poll_interval=0.25)).kind == "fetch"
        segmind_emulator.faults.add("status", "status:403")
        event = wait_for_request(hook, watch_for(request_id, poll_interval=0.25))
    assert (event.kind, event.error["retryable"]) == ("error", True)
    assert "poll_error_timeout" in event.error["next_step"]


def test_both_modes_learn_from_what_completes(airflow_db, segmind_emulator, photos):
    durations._DURATIONS.clear()
    segmind_emulator.reset(latency=0.3)
    image = segmind_emulator.add_image(photos / "cat.jpg")
    with SegmindHook() as hook:
        first, second = (hook.submit("esrgan", {"image": image}).request_id for _ in range(2))
        assert wait_for_request(hook, watch_for(first, poll_interval=0.25)).kind == "completed"

    async def run():
        async with SharedClient("segmind_default") as client:
            return await await_request(client, watch_for(second, poll_interval=0.25))

    assert asyncio.run(run()).kind == "completed"
    learned = durations_of("segmind_default", "echo-model")
    assert learned.estimate(None, now=time.time() + 60).median == pytest.approx(0.3, abs=0.05)
    assert len(learned._logs) == 2
