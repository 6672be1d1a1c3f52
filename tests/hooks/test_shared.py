"""What the waits of one loop share: one client, made once, closed by the last, replaced when the connection changes."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from airflow_provider_segmind.exceptions import SegmindAuthError, SegmindConfigError
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.polling import shared_client
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.polling.shared_client import SharedClient, durations_of
from airflow_provider_segmind.protocol.settings import connection_settings

KEY, OTHER_KEY = "SG_0123456789abcdef", "SG_fedcba9876543210"


class Reader:
    """Reads a connection that may change, and counts."""

    def __init__(self):
        self.values, self.reads, self.error = {"api_key": KEY, "gateway": "http://127.0.0.1:9"}, 0, None

    async def __call__(self):
        self.reads += 1
        await asyncio.sleep(0.01)
        if self.error:
            raise self.error
        return connection_settings(self.values, where="test")


def closed(client):
    """Whether it is closed; it opens its session at the first call, so that is opened here."""
    if client._free is None:
        client._free = client._session()
    return client._free.closed


@pytest.fixture
def reader():
    return Reader()


def test_a_thousand_waits_read_once_and_share_one_client(reader):
    async def run():
        leases = [SharedClient("c", reader) for _ in range(1000)]
        clients = set(await asyncio.gather(*(lease.client() for lease in leases)))
        for lease in leases:
            await lease.release()
        return clients

    assert len(asyncio.run(run())) == 1
    assert reader.reads == 1


def test_the_last_that_leaves_closes_it(reader):
    async def run():
        first, second = SharedClient("c", reader), SharedClient("c", reader)
        client = await first.client()
        assert await second.client() is client
        await first.release()
        await first.release()  # twice is once
        open_still = not closed(client)
        await second.release()
        closed_by_last = closed(client)
        third = SharedClient("c", reader)
        another = await third.client()
        await third.release()
        return open_still, closed_by_last, another is not client

    assert asyncio.run(run()) == (True, True, True)


def test_other_connections_and_other_loops_have_their_own(reader):
    async def run():
        a, b = SharedClient("a", reader), SharedClient("b", reader)
        found = await a.client(), await b.client()
        await a.release()
        await b.release()
        return found

    clients = {*asyncio.run(run()), *asyncio.run(run())}
    assert len(clients) == 4


def test_a_changed_connection_moves_everybody_at_their_next_call(reader, monkeypatch):
    monkeypatch.setattr(shared_client, "_FRESH", 0.0)

    async def run():
        old, new = SharedClient("c", reader), SharedClient("c", reader)
        before = await old.client()
        closed(before)
        reader.values["api_key"] = OTHER_KEY
        after = await new.client()
        moved = await old.client()
        left = closed(before)
        closed(after)
        await old.release()
        await new.release()
        left_by_all = closed(after)
        return before is not after, moved is after, left, left_by_all

    assert asyncio.run(run()) == (True, True, True, True)


def test_an_unchanged_connection_keeps_its_client(reader, monkeypatch):
    monkeypatch.setattr(shared_client, "_FRESH", 0.0)

    async def run():
        first, second = SharedClient("c", reader), SharedClient("c", reader)
        same = await first.client() is await second.client()
        await first.release()
        await second.release()
        return same

    assert asyncio.run(run())
    assert reader.reads == 2


def test_a_connection_that_cannot_be_read_again_goes_on_as_it_was(reader, monkeypatch):
    monkeypatch.setattr(shared_client, "_FRESH", 0.0)

    async def run():
        first, second = SharedClient("c", reader), SharedClient("c", reader)
        client = await first.client()
        reader.error = SegmindConfigError("the secrets backend is down")
        same = await second.client() is client
        await first.release()
        await second.release()
        with pytest.raises(SegmindConfigError):
            await SharedClient("c", reader).client()
        return same

    assert asyncio.run(run())


def test_what_is_learned_is_shared_by_connection_and_model():
    assert durations_of("c", "esrgan") is durations_of("c", "esrgan")
    assert durations_of("c", "esrgan") is not durations_of("c", "nomos-upscaler")
    assert durations_of("c", "esrgan") is not durations_of("d", "esrgan")


# --- in a wait, with a gateway -------------------------------------------------------------------------------------


def watching(request_id, **values):
    now = time.time()
    return Watch(request_id=request_id, model="echo-model", submitted_at=now, deadline=now + 20, **values)


@pytest.fixture
def connection(airflow_db, segmind_emulator, monkeypatch):
    def set_key(key, **extra):
        value = {"conn_type": "segmind", "host": segmind_emulator.url, "password": key, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_ROTATED", json.dumps(value))

    set_key(KEY)
    return set_key


def test_a_key_that_was_rotated_in_the_middle_of_a_wait(connection, segmind_emulator):
    """The old key is refused: the connection is read again, and the wait goes on with the new one."""
    with SegmindHook("rotated") as hook:
        request_id = hook.submit("echo-model", {"prompt": "x"}).request_id

    async def run():
        async with SegmindHook("rotated") as hook:
            await hook.aget_conn()
            connection(OTHER_KEY)
            segmind_emulator.faults.add("status", "status:401", times=1)
            return await hook.awatch(watching(request_id, poll_interval=0.25))

    assert asyncio.run(run()).kind == "fetch"
    assert segmind_emulator.stats.polls == 2  # one with each key


@pytest.mark.parametrize(("tolerance", "polls"), [(0, {1}), (1, {3, 4, 5})])
def test_a_key_that_is_refused_and_has_not_changed(connection, segmind_emulator, tolerance, polls):
    """It is tolerated for the connection's ``poll_error_timeout``, and then another try may have another key."""
    connection(KEY, poll_error_timeout=tolerance)
    with SegmindHook("rotated") as hook:
        request_id = hook.submit("echo-model", {"prompt": "x"}).request_id

    async def run():
        async with SegmindHook("rotated") as hook:
            segmind_emulator.faults.add("status", "status:401")
            return await hook.awatch(watching(request_id, poll_interval=0.25))

    event = asyncio.run(run())
    assert event.error["type"] == SegmindAuthError.__name__
    assert event.error["retryable"]
    assert segmind_emulator.stats.polls in polls


def test_in_a_task_a_refusal_is_tolerated_alike(connection, segmind_emulator):
    connection(KEY, poll_error_timeout=1)
    with SegmindHook("rotated") as hook:
        request_id = hook.submit("echo-model", {"prompt": "x"}).request_id
        segmind_emulator.faults.add("status", "status:403", times=2)
        assert hook.watch(watching(request_id, poll_interval=0.25)).kind == "fetch"
        segmind_emulator.faults.add("status", "status:403")
        event = hook.watch(watching(request_id, poll_interval=0.25))
    assert (event.kind, event.error["retryable"]) == ("error", True)
    assert "poll_error_timeout" in event.error["next_step"]


def test_both_modes_learn_from_what_completes(airflow_db, segmind_emulator, photos):
    shared_client._DURATIONS.clear()
    segmind_emulator.reset(latency=0.3)
    image = segmind_emulator.add_image(photos / "cat.jpg")
    with SegmindHook() as hook:
        first, second = (hook.submit("esrgan", {"image": image}).request_id for _ in range(2))
        assert hook.watch(watching(first, poll_interval=0.25)).kind == "completed"

    async def run():
        async with SegmindHook() as hook:
            return await hook.awatch(watching(second, poll_interval=0.25))

    assert asyncio.run(run()).kind == "completed"
    learned = durations_of("segmind_default", "echo-model")
    assert learned.known(None, now=time.time() + 60).median == pytest.approx(0.3, abs=0.05)
    assert len(learned._logs) == 2
