"""Downloads: complete or retried, without the key, and only from allowed hosts."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from airflow_provider_segmind.client import (
    SegmindClient,
    download,
    ssl_context,
)
from airflow_provider_segmind.exceptions import (
    SegmindConfigError,
    SegmindDownloadError,
    SegmindError,
    SegmindForbiddenHostError,
    SegmindOutputError,
)
from airflow_provider_segmind.retry_budget import RetryBudget
from tests.gateways import Sleeps, recorder, settings_for


def fetch(settings, url, **options) -> tuple[bytes, object]:
    file = io.BytesIO()
    found = download(settings, url, file, sleep=Sleeps(), **options)
    return file.getvalue(), found


def test_a_download_carries_no_key_and_is_measured(segmind_emulator, tmp_path):
    url = segmind_emulator.add_image(b"\x89PNG\r\n\x1a\n" + bytes(1_000_000), name="a.png")
    content, found = fetch(settings_for(segmind_emulator.url), url)
    assert (found.bytes, found.content_type) == (len(content), "image/png")
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert segmind_emulator.stats.keys_seen_on_downloads == 0


TRANSIENT = [401, 403, 404, 410, 408, 425, 429, 500, 503]


BROKEN = ["truncate", "drop_before", "empty", "partial", *(f"status:{status}" for status in TRANSIENT)]


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_download_starts_again(segmind_emulator, fault):
    url = segmind_emulator.add_image(b"x" * 500_000, name="a.png")
    segmind_emulator.faults.add("asset", fault, times=2)
    content, found = fetch(settings_for(segmind_emulator.url), url)
    assert content == b"x" * 500_000
    assert found.bytes == 500_000


@pytest.mark.parametrize("fault", ["success:203", "success:206"])
def test_another_status_with_the_whole_body(segmind_emulator, fault):
    url = segmind_emulator.add_image(b"x" * 500_000, name="a.png")
    segmind_emulator.faults.add("asset", fault)
    content, found = fetch(settings_for(segmind_emulator.url), url, budget=RetryBudget(attempts=1))
    assert content == b"x" * 500_000
    assert (found.bytes, found.content_type) == (500_000, "image/png")


CONTENT_RANGES = {
    "bytes 0-9/10": True,
    " Bytes  0-9/10 ": True,
    "bytes 0-8/10": False,
    "bytes 1-9/10": False,
    "bytes 0-9/*": False,
    "bytes */10": False,
    "bytes 0-4/5": False,  # the body has 10 bytes
    "bytes 0-99/100": False,
    f"bytes 0-9/{'9' * 5000}": False,
    "items 0-9/10": False,
    "": False,
}


@pytest.mark.parametrize("stated", CONTENT_RANGES)
def test_a_206_is_the_output_only_if_its_range_is_the_whole(stated):
    with recorder() as host:
        host.response = (206, {"content-range": stated}, b"0123456789")
        settings, budget = settings_for(host.url), RetryBudget(attempts=2)
        if CONTENT_RANGES[stated]:
            assert fetch(settings, f"{host.url}/a.png", budget=budget)[0] == b"0123456789"
            return
        with pytest.raises(SegmindDownloadError) as caught:
            fetch(settings, f"{host.url}/a.png", budget=budget)
    assert (caught.value.status, caught.value.retryable, len(host.seen)) == (206, True, 2)
    assert len(str(caught.value)) < 500


def test_a_download_can_be_repeated_from_scratch(segmind_emulator, tmp_path):
    """A body that was cut without its length is noticed only when it is decoded."""
    whole = bytes(range(256)) * 2000
    url = segmind_emulator.add_image(whole, name="a.png")
    segmind_emulator.faults.add("asset", "cut", times=1)
    with SegmindClient(settings_for(segmind_emulator.url)) as client, (tmp_path / "a.png").open("w+b") as file:
        assert client.download(url, file).bytes == len(whole) // 2
        file.seek(0)
        found = client.download(url, file)
        file.seek(0)
        assert file.read() == whole
    assert (found.bytes, found.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())


def test_a_shorter_body_replaces_a_longer_one(segmind_emulator):
    urls = [segmind_emulator.add_image(b"x" * size, name="a.png") for size in (2000, 1000)]
    file = io.BytesIO()
    for url in urls:
        file.seek(0)
        download(settings_for(segmind_emulator.url), url, file)
    assert file.getvalue() == b"x" * 1000


CONTENT = bytes(range(256)) * 12_000
FORMS = {
    "announced": b"Content-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT,
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(CONTENT) + CONTENT + b"\r\n0\r\n\r\n",
    "until closed": b"\r\n" + CONTENT,
}


@contextmanager
def raw_host(response: bytes, *, then_wait: float = 0.0):
    """Respond to each connection with these bytes, and close it after ``then_wait`` seconds."""

    def serve() -> None:
        with suppress(OSError):
            while True:
                taken, _ = listener.accept()
                with taken:
                    taken.recv(65536)
                    taken.sendall(response)
                    time.sleep(then_wait)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("form", FORMS)
def test_a_body_is_complete_in_every_transfer_form(form):
    with raw_host(b"HTTP/1.1 200 OK\r\n" + FORMS[form]) as url:
        content, found = fetch(settings_for(url), f"{url}/output.bin")
    assert content == CONTENT
    assert found.sha256 == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    "rest", [b"Content-Length: 0\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"\r\n"], ids=[*FORMS]
)
def test_an_empty_body_is_not_an_output(rest):
    with (
        raw_host(b"HTTP/1.1 200 OK\r\n" + rest) as url,
        pytest.raises(SegmindDownloadError, match="is empty") as caught,
    ):
        fetch(settings_for(url), f"{url}/output.bin", budget=RetryBudget(attempts=2))
    assert caught.value.retryable
    assert caught.value.status == 200


@pytest.mark.parametrize("form", ["announced", "chunked"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.999])
def test_a_truncated_body_is_retryable(form, share):
    whole = b"HTTP/1.1 200 OK\r\n" + FORMS[form]
    head = len(whole) - len(CONTENT)
    with raw_host(whole[: head + int(share * len(CONTENT))]) as url, pytest.raises(SegmindDownloadError) as caught:
        fetch(settings_for(url), f"{url}/output.bin", budget=RetryBudget(attempts=2))
    assert caught.value.retryable


def test_a_stalled_body_times_out():
    whole = b"HTTP/1.1 200 OK\r\n" + FORMS["announced"]
    with raw_host(whole[:-1], then_wait=1.0) as url:
        settings = settings_for(url, read_timeout=0.2)
        with pytest.raises(SegmindDownloadError, match="ReadTimeout") as caught:
            fetch(settings, f"{url}/output.bin", budget=RetryBudget(attempts=1))
    assert caught.value.retryable


def test_a_download_that_stays_broken_is_an_error(segmind_emulator):
    url = segmind_emulator.add_image(b"x" * 1000, name="a.png")
    segmind_emulator.faults.add("asset", "truncate")
    with pytest.raises(SegmindDownloadError) as caught:
        fetch(settings_for(segmind_emulator.url), url, budget=RetryBudget(attempts=3))
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("status", "retryable"),
    [*((status, True) for status in TRANSIENT), *((status, False) for status in (204, 400, 405))],
)
def test_statuses_of_an_output_host(status, retryable):
    """A refusal may be transient (a new output); the engine decides when an output has expired."""
    with recorder() as host:
        host.response = (status, {"www-authenticate": "Basic"}, b"no")
        with pytest.raises(SegmindDownloadError) as caught:
            fetch(settings_for(host.url), f"{host.url}/a.png", budget=RetryBudget(attempts=2))
        assert caught.value.retryable is retryable
        assert caught.value.status == status
        assert len(host.seen) == (2 if retryable else 1)
        for _, headers in host.seen:
            assert not {"x-api-key", "authorization", "cookie"} & set(headers)


def test_too_many_bytes_are_refused(segmind_emulator):
    url = segmind_emulator.add_image(b"x" * 1000, name="a.png")
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
        host.response = (302, {"location": location}, b"")
        with pytest.raises(SegmindForbiddenHostError):
            fetch(settings_for(host.url), f"{host.url}/a.png")


def test_a_name_of_this_machine_is_refused(segmind_emulator):
    """Only the addresses of the machine's own name show that it is local."""
    with pytest.raises(SegmindForbiddenHostError, match="resolves to"):
        fetch(settings_for(segmind_emulator.url), f"https://{socket.gethostname()}:1/a.png")


def test_the_number_of_redirects_is_limited():
    with recorder() as host:
        host.response = (302, {"location": "/again"}, b"")
        with pytest.raises(SegmindForbiddenHostError, match="redirects"):
            fetch(settings_for(host.url), f"{host.url}/a.png")
        assert len(host.seen) == 6


def test_the_connection_is_opened_to_the_validated_address(monkeypatch):
    """The name is resolved once; TLS and the Host header keep the name."""
    from airflow_provider_segmind.client.download import _pinned

    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [(2, 1, 6, "", ("93.184.215.14", 443))])
    request, proxy = _pinned(settings_for("https://g.example"), "https://cdn.example/a.png?x=1")
    assert str(request["url"]) == "https://93.184.215.14/a.png?x=1"
    assert request["headers"]["host"] == "cdn.example"
    assert request["extensions"] == {"sni_hostname": "cdn.example"}
    assert proxy is None


def test_a_proxy_resolves_names_itself():
    from airflow_provider_segmind.client.download import _pinned

    settings = settings_for("https://g.example", proxy="http://proxy.example:3128")
    request, proxy = _pinned(settings, "https://cdn.example/a.png")
    assert (str(request["url"]), proxy) == ("https://cdn.example/a.png", "http://proxy.example:3128")
    for url in (
        "https://169.254.169.254/",
        "https://localhost/",
        "https://metadata/",
        f"https://{socket.gethostname()}/",
    ):
        with pytest.raises((SegmindForbiddenHostError, SegmindDownloadError)):
            _pinned(settings, url)


@pytest.mark.parametrize("url", ["https://a..b/x", "https://xn--/a", "https://[v1.a]/", f"https://{'a' * 70}.example/"])
def test_an_invalid_url_is_an_error_of_ours(segmind_emulator, url):
    with pytest.raises(SegmindError):
        fetch(settings_for(segmind_emulator.url), url, budget=RetryBudget(attempts=1))


def test_tls_contexts_are_shared_and_a_bad_ca_file_is_named(tmp_path):
    assert ssl_context(True) is ssl_context(True)
    with pytest.raises(SegmindConfigError, match="nowhere.pem"):
        ssl_context(str(tmp_path / "nowhere.pem"))
    (tmp_path / "bad.pem").write_text("no certificate")
    with pytest.raises(SegmindConfigError, match="bad.pem"):
        ssl_context(str(tmp_path / "bad.pem"))
