"""The hook: reading the connection, the environment's key, both clients, and every operation."""

from __future__ import annotations

import asyncio
import io
import json

import pytest

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError, SegmindMalformedResponseError
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.polling.drivers import wait_for_request
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.wire import RequestState
from airflow_provider_segmind.retry_budget import RetryBudget
from tests.gateways import recorder

KEY = "SG_0123456789abcdef"


@pytest.fixture
def connection(airflow_db, monkeypatch):
    def make(conn_id="segmind_default", **fields):
        value = {"conn_type": "segmind", "password": KEY, **fields}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(value))
        return SegmindHook(conn_id)

    return make


def read(hook, mode):
    return hook.settings if mode == "sync" else asyncio.run(hook.asettings())


both = pytest.mark.parametrize("mode", ["sync", "async"])


@both
def test_a_connection_by_its_fields(connection, mode):
    hook = connection(host="gateway.example", port=8443, extra={"read_timeout": 7, "output_hosts": "*.example"})
    found = read(hook, mode)
    assert found.gateway == "https://gateway.example:8443"
    assert (found.read_timeout, found.output_hosts) == (7.0, ("*.example",))
    assert found.api_key.get_secret_value() == KEY


@both
def test_a_connection_as_a_uri(airflow_db, monkeypatch, mode):
    monkeypatch.setenv("AIRFLOW_CONN_SEGMIND_DEFAULT", f"segmind://:{KEY}@?connect_timeout=3&verify=false")
    found = read(SegmindHook(), mode)
    assert (found.gateway, found.connect_timeout, found.verify) == ("https://api.segmind.com", 3.0, False)


@both
def test_unknown_extras_are_logged(connection, capsys, mode):
    hook = connection(extra={"read_timout": 7})
    assert read(hook, mode).read_timeout == 60
    reported = capsys.readouterr().out
    assert "read_timout" in reported
    assert "read_timeout" in reported


@both
@pytest.mark.parametrize("conn_id", ["segmind_default", None])
def test_without_a_connection_the_environments_key_is_used(airflow_db, monkeypatch, mode, conn_id):
    monkeypatch.setenv("SEGMIND_API_KEY", KEY)
    found = read(SegmindHook(conn_id), mode)
    assert found.api_key.get_secret_value() == KEY
    assert found.gateway == "https://api.segmind.com"


@both
def test_the_environments_key_goes_to_the_environments_gateway(monkeypatch, mode):
    monkeypatch.setenv("SEGMIND_API_KEY", KEY)
    monkeypatch.setenv("SEGMIND_GATEWAY", "http://127.0.0.1:8787")
    found = read(SegmindHook(None), mode)
    assert {found.gateway, found.upload_url, found.history_url} == {"http://127.0.0.1:8787"}
    monkeypatch.setenv("SEGMIND_GATEWAY", "http://example.com")
    with pytest.raises(SegmindConfigError, match="sends the key in the clear"):
        read(SegmindHook(None), mode)


@both
def test_a_connection_has_precedence_over_the_environment(connection, monkeypatch, mode):
    monkeypatch.setenv("SEGMIND_API_KEY", "SG_fedcba9876543210")
    monkeypatch.setenv("SEGMIND_GATEWAY", "http://127.0.0.1:8787")
    found = read(connection(), mode)
    assert found.api_key.get_secret_value() == KEY
    assert found.gateway != "http://127.0.0.1:8787"


@both
@pytest.mark.parametrize("conn_id", ["segmind_default", None])
def test_without_any_key_the_error_states_what_to_do(airflow_db, mode, conn_id):
    with pytest.raises(
        SegmindConfigError,
        match=r"SEGMIND_API_KEY is not set.*airflow connections add segmind_default",
    ):
        read(SegmindHook(conn_id), mode)


@both
def test_a_connection_without_a_key_is_an_error(connection, mode):
    with pytest.raises(SegmindConfigError, match="'segmind_default' has no password"):
        read(connection(password=None), mode)


def test_every_operation_against_the_emulator(airflow_db, segmind_emulator, tmp_path, photos):
    photo, memory = photos / "cat.jpg", io.BytesIO()
    with SegmindHook() as hook:
        balance = hook.get_credits()
        [url, other] = hook.upload([photo, photo.read_bytes()])
        submitted = hook.submit("esrgan", {"image": url, "scale": "2"})
        event = wait_for_request(hook, Watch(submitted.request_id, "esrgan", 0, 4e9, poll_interval=0.25))
        status = hook.get_status(submitted.request_id)
        result = hook.get_result(submitted.request_id, model="esrgan")
        stored = hook.download(result.output, tmp_path / "out.jpg")
        again = hook.download(result.output, memory)
        [row] = hook.get_history(submitted.request_id)
        rows = hook.get_history(model="esrgan")
        image = hook.run_sync("esrgan", {"image": other})
    assert balance.total > 0
    assert event.kind == "completed"
    assert status.state is RequestState.COMPLETED
    assert event.result.to_xcom() == result.to_xcom()
    assert stored == again
    assert (tmp_path / "out.jpg").read_bytes() == memory.getvalue()
    assert memory.getvalue().startswith(b"\xff\xd8\xff")
    assert image.content.startswith(b"\xff\xd8\xff")
    assert image.cost
    assert row.request_id == result.request_id
    assert row.parameters["scale"] == 2
    assert row.request_id in {found.request_id for found in rows}
    assert segmind_emulator.stats.keys_seen_on_downloads == 0
    assert segmind_emulator.stats.submits_accepted == 2


def test_the_async_client_is_the_hooks_own_and_aclose_closes_it(airflow_db, segmind_emulator):
    async def run():
        async with SegmindHook() as hook, SegmindHook() as other:
            client, same = await asyncio.gather(hook.aget_conn(), hook.aget_conn())
            assert client is same
            assert await other.aget_conn() is not client
            balance = await client.send(calls.get_credits())
            session = client._free
            await hook.aclose()
            await hook.aclose()  # a second close has no effect
            assert session.closed
            assert await hook.aget_conn() is not client
        return balance

    assert asyncio.run(run()).total > 0


def test_the_async_client_has_the_budget_of_the_hook(airflow_db, segmind_emulator):
    budget = RetryBudget(attempts=2)

    async def run():
        async with SegmindHook(budget=budget) as hook:
            return (await hook.aget_conn()).budget

    assert asyncio.run(run()) is budget


def test_outputs_of_the_history_are_absolute(connection):
    """Some rows contain only a path: it belongs to the gateway's own host, or to Segmind's host for outputs."""
    row = b'[{"request_id": "r-1", "generation_url": "/outputs/a.png"}, {"request_id": "r-1"}]'
    with recorder() as host:
        host.response = (200, {}, row)
        with connection(host=host.url) as hook:
            [found] = hook.get_history()
            page = hook.get_history_page(model="esrgan")
    assert (page.rows, page.raw) == ([found], 2)
    assert found.output == f"{host.url}/outputs/a.png"


def test_a_history_response_without_a_list_is_an_error(connection):
    with recorder() as host:
        host.response = (200, {}, b'{"message": "ok"}')
        hook = connection(host=host.url)
        hook.budget = RetryBudget(attempts=1)
        with hook, pytest.raises(SegmindMalformedResponseError, match="the request history is not a list"):
            hook.get_history()


def test_a_broken_download_leaves_no_file(airflow_db, segmind_emulator, tmp_path):
    url = segmind_emulator.add_image(b"x" * 1000, name="a.png")
    with SegmindHook() as hook, pytest.raises(SegmindError):
        hook.download(url, tmp_path / "a.png", max_bytes=10)
    assert list(tmp_path.iterdir()) == []


def test_an_invalid_parameter_is_not_sent(airflow_db, segmind_emulator):
    with SegmindHook() as hook, pytest.raises(SegmindConfigError):
        hook.submit("esrgan", {"image": "https://x/y.png", "scale": 3})
    assert segmind_emulator.stats.submits_attempted == 0


# --- "Test connection" --------------------------------------------------------------------------------------


def test_test_connection_reports_the_balance(airflow_db, segmind_emulator):
    works, reported = SegmindHook().test_connection()
    assert works
    assert "100 credits" in reported
    assert "127.0.0.1" in reported


def test_test_connection_with_a_bad_key(connection, segmind_emulator):
    works, reported = connection(host=segmind_emulator.url, password="not-a-key").test_connection()
    assert not works
    assert "refused the API key" in reported
    assert "connection's password" in reported


def test_test_connection_with_a_bad_host(connection):
    hook = connection(host="http://127.0.0.1:9")
    from airflow_provider_segmind.retry_budget import ONCE

    hook.budget = ONCE
    works, reported = hook.test_connection()
    assert not works
    assert "could not be reached" in reported


def test_test_connection_with_something_that_is_not_segmind(connection, segmind_emulator):
    segmind_emulator.faults.add("credits", "html")
    hook = connection(host=segmind_emulator.url)
    from airflow_provider_segmind.retry_budget import ONCE

    hook.budget = ONCE
    works, reported = hook.test_connection()
    assert not works
    assert "gateway" in reported


def test_test_connection_of_a_wrong_connection(connection):
    works, reported = connection(host="http://gateway.internal").test_connection()
    assert not works
    assert "allow_http" in reported


@pytest.mark.segmind_emulator(balance_record=False)
def test_test_connection_of_an_account_without_a_balance(airflow_db, segmind_emulator):
    works, reported = SegmindHook().test_connection()
    assert works
    assert "no balance" in reported.lower() or "No credits" in reported
