"""Download one output: stream it into a file in constant memory, from allowed hosts only."""

from __future__ import annotations

import hashlib
import re
import socket
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import httpcore
import httpx
from tenacity import Retrying

from airflow_provider_segmind.client.transport import USER_AGENT, reason, ssl_context, timeout
from airflow_provider_segmind.exceptions import SegmindDownloadError, SegmindForbiddenHostError, SegmindOutputError
from airflow_provider_segmind.protocol.hosts import MAX_REDIRECTS, check_addresses, check_name, next_hop
from airflow_provider_segmind.protocol.settings import ConnectionSettings
from airflow_provider_segmind.retry_budget import RetryBudget, retry_options

_BLOCK = 1 << 20  # maximum bytes of one read
_AHEAD = 8  # maximum pieces that wait to be hashed while the next are received
#: Retryable statuses of an output host, besides 5xx: a new output may not be available on all of its servers yet.
_TRANSIENT = (401, 403, 404, 408, 410, 425, 429)
#: 203 is a 200 that a proxy has changed, 206 a part that may be the whole.
_WITH_BODY = (httpx.codes.OK, httpx.codes.NON_AUTHORITATIVE_INFORMATION, httpx.codes.PARTIAL_CONTENT)
_CONTENT_RANGE = re.compile(r"\s*bytes\s+0-(\d{1,18})/(\d{1,18})\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Download:
    """
    A downloaded output.

    :param bytes: its size.
    :param sha256: its SHA-256 (hex).
    :param content_type: the content type that the host states; None if it states none.
    """

    bytes: int
    sha256: str
    content_type: str | None


def download(
    settings: ConnectionSettings,
    url: str,
    target: BinaryIO,
    *,
    max_bytes: int | None = None,
    budget: RetryBudget | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Download:
    """
    Stream an output into a seekable file in constant memory. A broken or refused download is retried from the start.

    No key is sent. ``protocol/hosts.py`` validates the address of every hop, and the connection is opened to exactly
    this address.

    :param settings: the connection, for its hosts, proxy, timeouts and TLS.
    :param url: the output URL.
    :param target: written from its current position.
    :param max_bytes: maximum size (default: no limit).
    :param budget: attempts and seconds (default: 6 attempts in 120 seconds).
    :param sleep: pauses between two attempts (seconds); for tests.
    :return: size, SHA-256 and content type.
    :raises SegmindForbiddenHostError: the host, or a redirect target, is not allowed.
    :raises SegmindDownloadError: every attempt broke, was empty or was refused; it has the last HTTP status.
    :raises SegmindOutputError: the output is larger than ``max_bytes``.
    """
    start = target.tell()

    def attempt() -> Download:
        target.seek(start)
        target.truncate()
        return _download_once(settings, url, target, max_bytes)

    options = retry_options(lambda error: error.retryable, budget or RetryBudget(), "download", time.time)
    return Retrying(sleep=sleep, **options)(attempt)


def _download_once(settings: ConnectionSettings, url: str, target: BinaryIO, max_bytes: int | None) -> Download:
    for _ in range(MAX_REDIRECTS + 1):
        request, proxy = _pinned(settings, url)
        options: dict[str, Any] = {
            "verify": ssl_context(settings.verify),
            "timeout": timeout(settings),
            "trust_env": False,
        }
        try:
            with (
                httpx.Client(proxy=proxy, follow_redirects=False, **options) as http,
                http.stream("GET", **request) as response,
            ):
                if not response.is_redirect:
                    return _receive(response, target, settings.read_timeout, max_bytes)
                url = next_hop(url, response.headers.get("location"))
        except (httpx.HTTPError, httpx.InvalidURL, httpcore.NetworkError, httpcore.TimeoutException) as error:
            raise SegmindDownloadError(f"{urlsplit(url).hostname}: {reason(error)}") from error
    raise SegmindForbiddenHostError(f"more than {MAX_REDIRECTS} redirects, the last to {urlsplit(url).hostname}")


def _pinned(settings: ConnectionSettings, url: str) -> tuple[dict[str, Any], str | None]:
    """
    Return the request for one hop, and its proxy.

    Without a proxy the connection is opened to the address that was validated, with the host's own name in the
    headers and in TLS. A proxy resolves names itself: names that this machine can resolve are validated here as well.
    """
    trusted = check_name(url, settings)
    headers = {"user-agent": USER_AGENT, "accept-encoding": "identity"}
    try:
        target = httpx.URL(url)
        proxy = settings.proxy or _environment_proxy(target)
        if trusted:
            return {"url": target, "headers": headers}, proxy
        found = socket.getaddrinfo(target.host, target.port or 443, type=socket.SOCK_STREAM)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise SegmindForbiddenHostError(f"{url!r:.200} is not a URL: {error}") from error
    except OSError as error:
        if proxy and "." in target.host.strip("."):
            return {"url": target, "headers": headers}, proxy  # only the proxy can resolve this name
        raise SegmindDownloadError(f"{target.host} cannot be resolved: {error}") from error
    address = check_addresses(target.host, [str(entry[4][0]) for entry in found])
    if proxy:
        return {"url": target, "headers": headers}, proxy
    request = {
        "url": target.copy_with(host=address),
        "headers": headers | {"host": target.netloc.decode()},
        "extensions": {"sni_hostname": target.host},
    }
    return request, None


def _environment_proxy(url: httpx.URL) -> str | None:
    if urllib.request.proxy_bypass(url.host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


def _pieces(response: httpx.Response, read_timeout: float) -> Iterator[bytes]:
    """
    Yield the body. If its length is known, read it in large pieces from httpx's own network stream.

    httpx itself yields pieces of 64 KiB, which takes four times the CPU. Its first piece is what arrived with the
    headers.
    """
    length, stream = response.headers.get("content-length", ""), response.extensions.get("network_stream")
    plain = not {"transfer-encoding", "content-encoding"} & set(response.headers)
    pieces = response.iter_bytes()
    if not (length.isdigit() and plain and stream is not None and response.http_version == "HTTP/1.1"):
        yield from pieces
        return
    left = int(length)
    piece = next(pieces, b"")
    while left:
        left -= len(piece)
        yield piece
        piece = stream.read(min(left, _BLOCK), timeout=read_timeout) if left else b""
        if left and not piece:
            status = response.status_code
            raise SegmindDownloadError(f"the download broke off with {left} of {length} bytes left", status=status)


def _whole_size(response: httpx.Response) -> int | None:
    """Return the size of the whole output as a 206 states it, None for another status; raise if it is only a part."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return None
    stated = response.headers.get("content-range", "")
    found = _CONTENT_RANGE.fullmatch(stated)
    if found is None or int(found[1]) + 1 != int(found[2]):
        raise SegmindDownloadError(
            f"the host sent only a part of the output: Content-Range is {stated!r:.100}",
            status=response.status_code,
        )
    return int(found[2])


def _refuse(response: httpx.Response) -> None:
    """Raise SegmindDownloadError for a status that comes without the output."""
    if response.status_code not in _WITH_BODY:
        transient = response.status_code >= 500 or response.status_code in _TRANSIENT
        raise SegmindDownloadError(
            "the output host refused the download",
            status=response.status_code,
            retryable=transient,
            next_step=None
            if transient
            else "Outputs need no key and are kept for days: find the request in the request history.",
        )


def _receive(response: httpx.Response, target: BinaryIO, read_timeout: float, max_bytes: int | None) -> Download:
    _refuse(response)
    whole = _whole_size(response)
    limit = max_bytes if max_bytes is not None else float("inf")
    digest, received = hashlib.sha256(), 0
    if (announced := response.headers.get("content-length", "")).isdigit() and int(announced) > limit:
        raise SegmindOutputError(f"the output has {announced} bytes, more than the {max_bytes} allowed")

    # Hashing takes more time than receiving: a thread of its own overlaps the two.
    with ThreadPoolExecutor(1, thread_name_prefix="segmind-download") as thread:
        hashing: deque[Future[None]] = deque()
        for piece in _pieces(response, read_timeout):
            received += len(piece)
            if received > limit:
                raise SegmindOutputError(f"the output has more than the {max_bytes} bytes allowed")
            hashing.append(thread.submit(digest.update, piece))
            target.write(piece)
            if len(hashing) > _AHEAD:
                hashing.popleft().result()
        for left in hashing:
            left.result()
    if not received:
        raise SegmindDownloadError("the body is empty", status=response.status_code)
    if whole not in (None, received):
        raise SegmindDownloadError(f"{received} of {whole} bytes were received", status=response.status_code)
    content_type = response.headers.get("content-type", "").split(";")[0].strip() or None
    return Download(received, digest.hexdigest(), content_type)
