"""The client over real sockets: what is sent, what is sent again, and where the key goes."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from airflow_provider_segmind.client import (
    AsyncSegmindClient,
    SegmindClient,
    download,
    ssl_context,
)
from airflow_provider_segmind.exceptions import (
    SegmindAnswerLostError,
    SegmindAuthError,
    SegmindConfigError,
    SegmindConnectionError,
    SegmindDownloadError,
    SegmindError,
    SegmindForbiddenHostError,
    SegmindGatewayError,
    SegmindMalformedAnswerError,
    SegmindOutputError,
    SegmindRateLimitedError,
)
from airflow_provider_segmind.protocol import calls
from airflow_provider_segmind.protocol.settings import connection_settings
from airflow_provider_segmind.retrying import RetryBudget

KEY = "SG_0123456789abcdef"
PARAMETERS = {"prompt": "hello"}


def settings_for(url: str, **values):
    return connection_settings({"api_key": KEY, "gateway": url, "read_timeout": 5, **values}, where="test")


class Sleeps(list[float]):
    """Remembers how long was slept, and does not sleep."""

    def __call__(self, seconds):
        self.append(seconds)

    async def asleep(self, seconds):
        self.append(seconds)


class Both:
    """Send through the sync and the async driver alike."""

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


@pytest.mark.parametrize("fault", ["status:500", "status:502", "status:503", "status:504", "status:429"])
def test_a_submit_that_was_not_accepted_is_sent_again(driver, segmind_emulator, fault):
    segmind_emulator.faults.add("submit", fault, times=2)
    both = driver()
    both.send(submit())
    assert segmind_emulator.stats.submits_accepted == 1
    assert segmind_emulator.stats.submits_attempted == 3
    assert len(both.sleeps) == 2


@pytest.mark.parametrize("fault", ["drop_after", "garbage", "missing_fields"])
def test_a_submit_whose_answer_was_lost_is_never_sent_again(driver, segmind_emulator, fault):
    segmind_emulator.faults.add("submit", fault)
    with pytest.raises((SegmindAnswerLostError, SegmindMalformedAnswerError), match="second submit is a second bill"):
        driver().send(submit())
    assert segmind_emulator.stats.submits_attempted == 1
    assert segmind_emulator.stats.submits_accepted == 1


def test_a_dropped_connection_before_acceptance_looks_the_same_so_it_is_not_sent_again(driver, segmind_emulator):
    segmind_emulator.faults.add("submit", "drop_before")
    with pytest.raises(SegmindAnswerLostError):
        driver().send(submit())
    assert segmind_emulator.stats.submits_accepted == 0


def test_a_refused_connection_may_be_tried_again(driver):
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
def test_a_look_is_repeated_on_anything_that_may_pass(driver, segmind_emulator, fault):
    request_id = driver().send(submit()).request_id
    segmind_emulator.faults.add("status", fault, times=2)
    both = driver()
    assert both.send(calls.get_status(request_id)).request_id == request_id
    assert len(both.sleeps) == 2


def test_what_will_not_pass_is_not_repeated(driver, segmind_emulator):
    both = driver()
    segmind_emulator.faults.add("status", "status:401")
    with pytest.raises(SegmindAuthError):
        both.send(calls.get_status("7c9e6679-7425-40de-944b-e07fc1f90ae7"))
    assert both.sleeps == []


def test_attempts_end(driver, segmind_emulator):
    segmind_emulator.faults.add("submit", "status:503")
    both = driver(budget=RetryBudget(attempts=4))
    with pytest.raises(SegmindGatewayError):
        both.send(submit())
    assert segmind_emulator.stats.submits_attempted == 4
    assert len(both.sleeps) == 3


def test_a_rate_limit_is_waited_out_until_its_reset(driver, segmind_emulator):
    segmind_emulator.faults.add("submit", "status:429", times=1, headers={"retry-after": "20"})
    both = driver()
    both.send(submit())
    assert 20 < both.sleeps[0] < 22


def test_a_wait_beyond_the_budget_is_not_begun(driver, segmind_emulator):
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


class Recorder:
    """A server that remembers what reached it, and answers what it is told to."""

    def __init__(self):
        self.seen = []  # (path, headers) of each request
        self.answer = (200, {}, b"{}")  # status, headers, body
        self.url = ""


@contextmanager
def recorder() -> Iterator[Recorder]:
    record = Recorder()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            record.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            status, headers, body = record.answer
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    record.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield record
    finally:
        server.shutdown()
        server.server_close()


def test_the_key_goes_in_its_header_and_an_echo_of_it_is_masked(driver):
    with recorder() as gateway:
        gateway.answer = (
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


def test_uploads_and_history_go_to_their_own_hosts():
    with recorder() as gateway, recorder() as upload, recorder() as history:
        upload.answer = (200, {}, b'{"file_urls": ["https://x/a.png"]}')
        history.answer = (200, {}, b"[]")
        settings = settings_for(gateway.url, upload_url=upload.url, history_url=history.url)
        with SegmindClient(settings) as client:
            assert client.send(calls.upload(["data:image/png;base64,AA=="])) == ["https://x/a.png"]
            assert client.send(calls.get_history(model="esrgan")) == []
        assert [path for path, _ in upload.seen] == ["/upload-asset"]
        assert [path for path, _ in history.seen] == [
            "/inference-request/request-history?page=1&per_page=20&sort_by=model_created&sort_order=desc&model_name=esrgan"
        ]
        assert gateway.seen == []


# --- downloads ----------------------------------------------------------------------------------------------


def fetch(settings, url, **options) -> tuple[bytes, object]:
    file = io.BytesIO()
    found = download(settings, url, file, sleep=Sleeps(), **options)
    return file.getvalue(), found


def test_a_download_carries_no_key_and_is_measured(segmind_emulator, tmp_path):
    url = segmind_emulator.add_picture(b"\x89PNG\r\n\x1a\n" + bytes(1_000_000), name="a.png")
    content, found = fetch(settings_for(segmind_emulator.url), url)
    assert (found.bytes, found.content_type) == (len(content), "image/png")
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert segmind_emulator.stats.keys_seen_on_downloads == 0


@pytest.mark.parametrize("fault", ["truncate", "drop_before", "status:503"])
def test_a_broken_download_starts_again(segmind_emulator, fault):
    url = segmind_emulator.add_picture(b"x" * 500_000, name="a.png")
    segmind_emulator.faults.add("asset", fault, times=2)
    content, found = fetch(settings_for(segmind_emulator.url), url)
    assert content == b"x" * 500_000
    assert found.bytes == 500_000


def test_a_download_that_stays_broken_says_so(segmind_emulator):
    url = segmind_emulator.add_picture(b"x" * 1000, name="a.png")
    segmind_emulator.faults.add("asset", "truncate")
    with pytest.raises(SegmindDownloadError) as caught:
        fetch(settings_for(segmind_emulator.url), url, budget=RetryBudget(attempts=3))
    assert caught.value.retryable


@pytest.mark.parametrize(("status", "retryable"), [(401, False), (403, False), (404, False), (410, False), (500, True)])
def test_what_an_output_host_answers(status, retryable):
    with recorder() as host:
        host.answer = (status, {"www-authenticate": "Basic"}, b"no")
        with pytest.raises(SegmindDownloadError) as caught:
            fetch(settings_for(host.url), f"{host.url}/a.png", budget=RetryBudget(attempts=2))
        assert caught.value.retryable is retryable
        assert len(host.seen) == (2 if retryable else 1)
        for _, headers in host.seen:
            assert not {"x-api-key", "authorization", "cookie"} & set(headers)


def test_too_large_is_refused_early_and_late(segmind_emulator):
    url = segmind_emulator.add_picture(b"x" * 1000, name="a.png")
    with pytest.raises(SegmindOutputError, match="1000 bytes, more than the 999"):
        fetch(settings_for(segmind_emulator.url), url, max_bytes=999)
    assert fetch(settings_for(segmind_emulator.url), url, max_bytes=1000)[1].bytes == 1000


def test_another_port_of_this_machine_is_not_read(segmind_emulator):
    with recorder() as internal:
        for url in (f"{internal.url}/latest/meta-data", f"https://localhost:{internal.url[-5:]}/x"):
            with pytest.raises(SegmindForbiddenHostError):
                fetch(settings_for(segmind_emulator.url), url)
        assert internal.seen == []


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/",
        "https://localhost/",
        "file:///etc/passwd",
        "//[::1]/",
    ],
)
def test_a_redirect_into_a_private_network_is_refused(location):
    with recorder() as host:
        host.answer = (302, {"location": location}, b"")
        with pytest.raises(SegmindForbiddenHostError):
            fetch(settings_for(host.url), f"{host.url}/a.png")


def test_a_name_that_leads_home_is_refused(segmind_emulator):
    """This machine's own name does not say where it leads: only its addresses do."""
    with pytest.raises(SegmindForbiddenHostError, match="leads to"):
        fetch(settings_for(segmind_emulator.url), f"https://{socket.gethostname()}:1/a.png")


def test_redirects_end():
    with recorder() as host:
        host.answer = (302, {"location": "/again"}, b"")
        with pytest.raises(SegmindForbiddenHostError, match="redirects"):
            fetch(settings_for(host.url), f"{host.url}/a.png")
        assert len(host.seen) == 6


def test_the_connection_goes_to_the_address_that_was_judged(monkeypatch):
    """The name is resolved once; TLS and the Host header keep the name."""
    from airflow_provider_segmind import client

    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [(2, 1, 6, "", ("93.184.215.14", 443))])
    request, proxy = client._pinned(settings_for("https://g.example"), "https://cdn.example/a.png?x=1")
    assert str(request["url"]) == "https://93.184.215.14/a.png?x=1"
    assert request["headers"]["host"] == "cdn.example"
    assert request["extensions"] == {"sni_hostname": "cdn.example"}
    assert proxy is None


def test_a_proxy_resolves_names_itself():
    from airflow_provider_segmind import client

    settings = settings_for("https://g.example", proxy="http://proxy.example:3128")
    request, proxy = client._pinned(settings, "https://cdn.example/a.png")
    assert (str(request["url"]), proxy) == ("https://cdn.example/a.png", "http://proxy.example:3128")
    for url in (
        "https://169.254.169.254/",
        "https://localhost/",
        "https://metadata/",
        f"https://{socket.gethostname()}/",
    ):
        with pytest.raises((SegmindForbiddenHostError, SegmindDownloadError)):
            client._pinned(settings, url)


@pytest.mark.parametrize("url", ["https://a..b/x", "https://xn--/a", "https://[v1.a]/", f"https://{'a' * 70}.example/"])
def test_an_address_that_is_none_is_an_error_of_ours(segmind_emulator, url):
    with pytest.raises(SegmindError):
        fetch(settings_for(segmind_emulator.url), url, budget=RetryBudget(attempts=1))


def test_tls_contexts_are_shared_and_a_bad_ca_file_is_named(tmp_path):
    assert ssl_context(True) is ssl_context(True)
    with pytest.raises(SegmindConfigError, match="nowhere.pem"):
        ssl_context(str(tmp_path / "nowhere.pem"))
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(SegmindConfigError, match="bad.pem"):
        ssl_context(str(tmp_path / "bad.pem"))
