"""The clients over real sockets: what is sent, what is retried, and which hosts receive the key."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from airflow_provider_segmind.client import SegmindClient
from airflow_provider_segmind.client.async_driver import AsyncSegmindClient
from airflow_provider_segmind.exceptions import (
    SegmindAuthError,
    SegmindConnectionError,
    SegmindError,
    SegmindGatewayError,
    SegmindMalformedResponseError,
    SegmindRateLimitedError,
    SegmindUnknownOutcomeError,
)
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.retry_budget import RetryBudget
from tests.gateways import KEY, Sleeps, recorder, settings_for

PARAMETERS = {"prompt": "hello"}


class Both:
    """Send a call with the sync or the async client."""

    def __init__(self, kind, settings, **options):
        self.kind, self.sleeps = kind, Sleeps()
        self.settings, self.options = settings, options

    def send(self, call):
        if self.kind == "sync":
            with SegmindClient(self.settings, sleep=self.sleeps, **self.options) as client:
                return client.send(call)
        return asyncio.run(self._asend(call))

    async def _asend(self, call):
        async with AsyncSegmindClient(self.settings, sleep=self.sleeps.asleep, **self.options) as client:
            return await client.send(call)


@pytest.fixture(params=["sync", "async"])
def driver(request, segmind_emulator):
    def make(url=None, **options):
        return Both(request.param, settings_for(url or segmind_emulator.url), **options)

    return make


def submit():
    return calls.submit("echo-model", PARAMETERS)


def test_a_submit_is_sent_once(driver, segmind_emulator):
    found = driver().send(submit())
    assert found.request_id == segmind_emulator.requests[0].request_id
    assert segmind_emulator.stats.submits_attempted == 1


@pytest.mark.parametrize("fault", ["status", "status_after"])
@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520, 522])
def test_a_submit_after_a_5xx_is_not_sent_again(driver, segmind_emulator, fault, status):
    """Segmind may have accepted it: execution/ searches the request history first."""
    segmind_emulator.faults.add("submit", f"{fault}:{status}", times=2)
    both = driver()
    with pytest.raises(SegmindError) as caught:
        both.send(submit())
    assert caught.value.retryable
    assert caught.value.status == status
    assert segmind_emulator.stats.submits_attempted == 1
    assert segmind_emulator.stats.submits_accepted == (fault == "status_after")
    assert both.sleeps == []


def test_a_submit_that_met_a_rate_limit_is_sent_again(driver, segmind_emulator):
    segmind_emulator.faults.add("submit", "status:429", times=2)
    both = driver()
    both.send(submit())
    assert segmind_emulator.stats.submits_accepted == 1
    assert segmind_emulator.stats.submits_attempted == 3
    assert len(both.sleeps) == 2


@pytest.mark.parametrize("fault", ["drop_after", "garbage", "missing_fields"])
def test_a_submit_whose_response_was_lost_is_never_sent_again(driver, segmind_emulator, fault):
    segmind_emulator.faults.add("submit", fault)
    with pytest.raises(
        (SegmindUnknownOutcomeError, SegmindMalformedResponseError), match="second submit is billed again"
    ):
        driver().send(submit())
    assert segmind_emulator.stats.submits_attempted == 1
    assert segmind_emulator.stats.submits_accepted == 1


def test_a_submit_is_not_sent_again_after_a_connection_dropped_before_acceptance(driver, segmind_emulator):
    segmind_emulator.faults.add("submit", "drop_before")
    with pytest.raises(SegmindUnknownOutcomeError):
        driver().send(submit())
    assert segmind_emulator.stats.submits_accepted == 0


def test_a_refused_connection_is_retried(driver):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refused
        both = driver(f"http://127.0.0.1:{taken.getsockname()[1]}", budget=RetryBudget(attempts=3))
        with pytest.raises(SegmindConnectionError) as caught:
            both.send(submit())
    assert caught.value.retryable
    assert len(both.sleeps) == 2


@pytest.mark.parametrize(
    "fault", ["status:500", "status:502", "garbage", "drop_before", "drop_after", "html", "truncate"]
)
def test_a_poll_is_retried_after_every_transient_error(driver, segmind_emulator, fault):
    request_id = driver().send(submit()).request_id
    segmind_emulator.faults.add("status", fault, times=2)
    both = driver()
    assert both.send(calls.get_status(request_id)).request_id == request_id
    # aiohttp itself retries a GET once if a kept-alive connection breaks, because the host may have closed it.
    assert len(both.sleeps) == 2 or (both.kind == "async" and fault.startswith("drop") and len(both.sleeps) == 1)


def test_an_error_that_is_not_retryable_is_not_retried(driver, segmind_emulator):
    both = driver()
    segmind_emulator.faults.add("status", "status:401")
    with pytest.raises(SegmindAuthError):
        both.send(calls.get_status("7c9e6679-7425-40de-944b-e07fc1f90ae7"))
    assert both.sleeps == []


def test_the_number_of_attempts_is_limited(driver, segmind_emulator):
    segmind_emulator.faults.add("submit", "status:429")
    segmind_emulator.faults.add("credits", "status:503")
    both = driver(budget=RetryBudget(attempts=4))
    with pytest.raises(SegmindRateLimitedError):
        both.send(submit())
    assert segmind_emulator.stats.submits_attempted == 4
    assert len(both.sleeps) == 3
    with pytest.raises(SegmindGatewayError):
        both.send(calls.get_credits())
    assert len(both.sleeps) == 6


def test_after_a_rate_limit_the_client_pauses_until_the_reset(driver, segmind_emulator):
    segmind_emulator.faults.add("submit", "status:429", times=1, headers={"retry-after": "20"})
    both = driver()
    both.send(submit())
    assert 20 < both.sleeps[0] < 22


def test_a_pause_beyond_the_budget_is_not_started(driver, segmind_emulator):
    segmind_emulator.faults.add("submit", "status:429", times=1, headers={"retry-after": "300"})
    both = driver(budget=RetryBudget(seconds=60))
    with pytest.raises(SegmindRateLimitedError):
        both.send(submit())
    assert both.sleeps == []


def test_redirects_are_not_followed_with_the_key(driver, segmind_emulator):
    with recorder() as elsewhere:
        segmind_emulator.faults.add("any", f"redirect:{elsewhere.url}/steal")
        with pytest.raises(SegmindError):
            driver(budget=RetryBudget(attempts=2)).send(calls.get_credits())
        assert elsewhere.seen == []


def test_the_key_goes_in_its_header_and_an_echo_of_it_is_masked(driver):
    with recorder() as gateway:
        gateway.response = (
            401,
            {"content-type": "application/json"},
            json.dumps({"error": f"key {KEY} is bad"}).encode(),
        )
        with pytest.raises(SegmindAuthError) as caught:
            driver(gateway.url).send(calls.get_credits())
        [(path, headers)] = gateway.seen
    assert path == "/v1/get-user-credits"
    assert headers["x-api-key"] == KEY
    assert "authorization" not in headers
    assert KEY not in str(caught.value) + repr(caught.value.__dict__)
    assert "key *** is bad" in str(caught.value)


def test_uploads_and_history_are_sent_to_their_own_hosts():
    with recorder() as gateway, recorder() as upload, recorder() as history:
        upload.response = (200, {}, b'{"file_urls": ["https://x/a.png"]}')
        history.response = (200, {}, b"[]")
        settings = settings_for(gateway.url, upload_url=upload.url, history_url=history.url)
        with SegmindClient(settings) as client:
            assert client.send(calls.upload(["data:image/png;base64,AA=="])) == ["https://x/a.png"]
            assert client.send(calls.get_history(model="esrgan")).rows == []
        assert [path for path, _ in upload.seen] == ["/upload-asset"]
        assert [path for path, _ in history.seen] == [
            "/inference-request/request-history?page=1&per_page=20&sort_by=model_created&sort_order=desc&model_name=esrgan"
        ]
        assert gateway.seen == []


# --- the connection before a submit, and Segmind's clock -----------------------------------------------------------


class KeepsAlive(BaseHTTPRequestHandler):
    """A gateway that keeps connections alive, and records which request used which connection."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, object, str | None]]

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.seen.append((self.command, self.client_address, self.headers.get("x-api-key")))
        body = b'{"request_id": "r-1", "status": "QUEUED"}'
        self.send_response(404 if self.command == "HEAD" else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_HEAD = do_GET

    def log_message(self, *args):
        pass


def test_a_connection_is_opened_before_a_submit_and_kept_for_it():
    handler = type("Handler", (KeepsAlive,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        with SegmindClient(settings_for(f"http://127.0.0.1:{server.server_port}")) as client:
            client.connect()
            assert client.send(submit()).request_id == "r-1"
    finally:
        server.shutdown()
        server.server_close()
    (head, first, no_key), (post, second, key) = handler.seen
    assert (head, post) == ("HEAD", "POST")
    assert first == second
    assert (no_key, key) == (None, KEY)


@pytest.mark.parametrize("route", ["any", "submit"])
def test_connecting_submits_nothing_and_accepts_every_response(segmind_emulator, route):
    segmind_emulator.faults.add(route, "status:500")
    with SegmindClient(settings_for(segmind_emulator.url)) as client:
        client.connect()
    assert segmind_emulator.stats.submits_attempted == 0


def test_an_unreachable_gateway_is_found_before_the_submit():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: refused
        client = SegmindClient(settings_for(f"http://127.0.0.1:{taken.getsockname()[1]}"))
        with client, pytest.raises(SegmindConnectionError, match="connect to http") as caught:
            client.connect()
    assert caught.value.retryable


NOW = 1_800_000_000.0


def skew_of(*, now=NOW, took=0.0, **headers):
    """Return the clock skew that a client derives from one response."""
    with SegmindClient(settings_for("https://gateway.example"), clock=lambda: now) as client:
        assert client.skew is None
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        client._response(200, raw, b"", began=now - took)
        return client.skew


@pytest.mark.parametrize("ahead", [0, 15, -15, 7200, -7200])
def test_the_skew_of_segminds_clock_follows_from_the_date_of_a_response(ahead):
    assert skew_of(date=formatdate(NOW + ahead, usegmt=True)) == pytest.approx(ahead, abs=0.51)


@pytest.mark.parametrize("headers", [{}, {"date": ""}, {"date": "soon"}, {"date": "Sat, 99 Aug 2026 10:00:30 GMT"}])
def test_without_a_date_the_skew_is_unknown(headers):
    assert skew_of(**headers) is None


def test_the_date_of_a_cached_or_slow_response_is_ignored():
    """With a skew that is wrong by minutes, an accepted submit would count as never sent, and be billed twice."""
    date = formatdate(NOW, usegmt=True)
    assert skew_of(date=date, age="0") is not None
    assert skew_of(date=date, age="300") is None
    assert skew_of(date=date, took=30.0) is None
    assert skew_of(date=date, took=-30.0) is None, "this machine's clock was set back meanwhile"


def test_every_kind_of_call_updates_the_skew(segmind_emulator):
    ahead = 90.0
    settings = settings_for(segmind_emulator.url)
    slow = {"clock": lambda: time.time() - ahead}
    with SegmindClient(settings, **slow) as client:
        client.connect()
        assert client.skew == pytest.approx(ahead, abs=5)
        client.skew = None
        request_id = client.send(submit()).request_id
        assert client.skew == pytest.approx(ahead, abs=5)

    async def run():
        async with AsyncSegmindClient(settings, **slow) as client:
            for call in (calls.get_history(request_id), submit()):
                client.skew = None
                await client.send(call)
                assert client.skew == pytest.approx(ahead, abs=5)

    asyncio.run(run())
