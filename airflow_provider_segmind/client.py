"""
The only file that knows httpx: two drivers that send any call, and one download.

What may be replayed, how an answer is read and from where an output may come is decided in ``protocol/``.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import ssl
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO, ClassVar, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from tenacity import AsyncRetrying, Retrying

from airflow_provider_segmind import __version__
from airflow_provider_segmind.exceptions import (
    SegmindConfigError,
    SegmindDownloadError,
    SegmindError,
    SegmindForbiddenHostError,
    SegmindOutputError,
)
from airflow_provider_segmind.protocol.answers import Answer
from airflow_provider_segmind.protocol.calls import Call
from airflow_provider_segmind.protocol.hosts import MAX_REDIRECTS, check_addresses, check_name, next_hop
from airflow_provider_segmind.protocol.settings import ConnectionSettings, is_loopback, origin
from airflow_provider_segmind.retrying import RetryBudget, retry_options

T = TypeVar("T")

USER_AGENT = f"airflow-provider-segmind/{__version__}"
_CHUNK = 1 << 18  # bytes read at a time from an output
#: The request certainly did not reach the gateway.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.ProxyError,
)


class _Redaction(logging.Filter):
    """httpcore tells every header of an answer at DEBUG, and a gateway may repeat the key in one."""

    keys: ClassVar[set[str]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if any(key in text for key in self.keys):
            for key in self.keys:
                text = text.replace(key, "***")
            record.msg, record.args = text, None
        return True


logging.getLogger("httpcore.http11").addFilter(_Redaction())


@lru_cache(maxsize=8)
def ssl_context(verify: bool | str) -> ssl.SSLContext:
    """Return the TLS context of a ``verify`` setting; building one costs 25 ms of CPU, so it is shared."""
    if isinstance(verify, str):
        try:
            return ssl.create_default_context(cafile=verify)
        except OSError as error:
            raise SegmindConfigError(f"verify: {verify} cannot be read as a CA file: {error}") from None
    return httpx.create_ssl_context(verify=verify)


class _Driver:
    """What both drivers share: addresses, headers, and how httpx's words become ours."""

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        budget: RetryBudget | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        _Redaction.keys.add(settings.api_key.get_secret_value())
        self.budget = budget or RetryBudget()
        self._clock = clock

    def _options(self) -> dict[str, Any]:
        # A big pool makes each request slower (measured: 2.6 ms of CPU with 100 connections, 0.75 with 4).
        return {
            "timeout": _timeout(self.settings),
            "verify": ssl_context(self.settings.verify),
            "proxy": self.settings.proxy,
            "limits": httpx.Limits(max_connections=8, max_keepalive_connections=4),
            "follow_redirects": False,
            "trust_env": not is_loopback(origin(self.settings.gateway)[1]),  # no proxy between us and ourselves
            "headers": {"user-agent": USER_AGENT, "accept": "application/json, */*;q=0.5"},
        }

    def _request(self, call: Call[Any]) -> dict[str, Any]:
        """Return httpx's arguments. Only here does the key go on a request, and only to the connection's hosts."""
        return {
            "method": call.method,
            "url": self.settings.base_url(call.service) + call.path,
            "json": call.body,
            "params": call.query,
            "headers": {"x-api-key": self.settings.api_key.get_secret_value()},
        }

    def _answer(self, response: httpx.Response) -> Answer:
        """Take the answer over, without the key in case the gateway echoes it."""
        key = self.settings.api_key.get_secret_value()
        headers = {name.lower(): value.replace(key, "***") for name, value in response.headers.items()}
        return Answer(response.status_code, headers, response.content.replace(key.encode(), b"***"))

    def _retry(self, call: Call[Any], budget: RetryBudget | None) -> dict[str, Any]:
        return retry_options(call.may_replay, budget or self.budget, call.name, self._clock)


def _transport_error(call: Call[Any], error: httpx.HTTPError | httpx.InvalidURL) -> SegmindError:
    sent = not isinstance(error, (*_NOT_SENT, httpx.InvalidURL))
    return call.unanswered(_reason(error), sent=sent)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _timeout(settings: ConnectionSettings) -> httpx.Timeout:
    return httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout)


class SegmindClient(_Driver):
    """
    Send calls and wait for their answers. Keeps connections alive; close it, or use it in a ``with``.

    :param settings: the checked connection.
    :param budget: how patient to be with one call.
    :param sleep: how to wait between two tries (seconds); for tests.
    :param clock: the time (epoch seconds); for tests.
    """

    def __init__(
        self, settings: ConnectionSettings, *, sleep: Callable[[float], None] = time.sleep, **kwargs: Any
    ) -> None:
        super().__init__(settings, **kwargs)
        self._sleep = sleep
        self._http = httpx.Client(**self._options())

    def send(self, call: Call[T], *, budget: RetryBudget | None = None) -> T:
        """Send the call, again where its money rule allows it, and return what it reads; raises SegmindError."""
        result: T = Retrying(sleep=self._sleep, **self._retry(call, budget))(self._send_once, call)
        return result

    def _send_once(self, call: Call[T]) -> T:
        try:
            response = self._http.request(**self._request(call))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _transport_error(call, error) from error
        return call.parse(self._answer(response))

    def download(self, url: str, target: BinaryIO, *, max_bytes: int | None = None) -> Download:
        """Stream an output into a file, see :func:`download`."""
        return download(self.settings, url, target, max_bytes=max_bytes, budget=self.budget, sleep=self._sleep)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class AsyncSegmindClient(_Driver):
    """The same for an event loop, see :class:`SegmindClient`."""

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        **kwargs: Any,
    ) -> None:
        super().__init__(settings, **kwargs)
        self._sleep = sleep
        self._http = httpx.AsyncClient(**self._options())

    async def send(self, call: Call[T], *, budget: RetryBudget | None = None) -> T:
        """Send the call, again where its money rule allows it, and return what it reads; raises SegmindError."""
        return await AsyncRetrying(sleep=self._sleep, **self._retry(call, budget))(self._send_once, call)

    async def _send_once(self, call: Call[T]) -> T:
        try:
            response = await self._http.request(**self._request(call))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _transport_error(call, error) from error
        return call.parse(self._answer(response))

    async def download(self, url: str, target: BinaryIO, *, max_bytes: int | None = None) -> Download:
        """Stream an output into a file, in a thread: files block a loop anyway. See :func:`download`."""
        return await asyncio.to_thread(download, self.settings, url, target, max_bytes=max_bytes, budget=self.budget)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


@dataclass(frozen=True)
class Download:
    """What was downloaded: how much, its SHA-256 (hex), and the content type that the host claims."""

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
    Stream an output into a seekable file in constant memory; a broken download starts again.

    No key is sent. Every hop is judged by ``protocol/hosts.py`` and connected to at the address that was judged.

    :param settings: the connection, for its hosts, proxy, time-outs and TLS.
    :param url: the output's URL.
    :param target: written from its current position.
    :param max_bytes: refuse more than this.
    :return: bytes, sha256 and content type.
    :raises SegmindForbiddenHostError: the address, or one it redirects to, is not allowed.
    :raises SegmindDownloadError: it broke every time, or the host does not have it.
    :raises SegmindOutputError: it is larger than ``max_bytes``.
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
            "timeout": _timeout(settings),
            "trust_env": False,
        }
        try:
            with (
                httpx.Client(proxy=proxy, follow_redirects=False, **options) as http,
                http.stream("GET", **request) as response,
            ):
                if not response.is_redirect:
                    return _receive(response, target, max_bytes)
                url = next_hop(url, response.headers.get("location"))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SegmindDownloadError(f"{urlsplit(url).hostname}: {_reason(error)}") from error
    raise SegmindForbiddenHostError(f"more than {MAX_REDIRECTS} redirects, the last to {urlsplit(url).hostname}")


def _pinned(settings: ConnectionSettings, url: str) -> tuple[dict[str, Any], str | None]:
    """
    Return the request for one hop, and the proxy it goes through.

    Without a proxy the connection goes to the very address that was judged, under the host's own name (for TLS
    too). A proxy resolves names itself: what this machine can resolve is judged here, too, the rest is the proxy's.
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
        raise SegmindForbiddenHostError(f"{url!r:.200} is no URL: {error}") from error
    except OSError as error:
        if proxy and "." in target.host.strip("."):
            return {"url": target, "headers": headers}, proxy  # only the proxy knows this name
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


def _receive(response: httpx.Response, target: BinaryIO, max_bytes: int | None) -> Download:
    if response.status_code != httpx.codes.OK:
        passing = response.status_code >= 500 or response.status_code in (408, 425, 429)
        raise SegmindDownloadError(
            "the host refuses it",
            status=response.status_code,
            retryable=passing,
            next_step=None if passing else "Outputs need no key and are kept for days: look at it by its request id.",
        )
    limit = max_bytes if max_bytes is not None else float("inf")
    digest, received = hashlib.sha256(), 0
    if (announced := response.headers.get("content-length", "")).isdigit() and int(announced) > limit:
        raise SegmindOutputError(f"it has {announced} bytes, more than the {max_bytes} allowed")
    for chunk in response.iter_bytes(_CHUNK):
        received += len(chunk)
        if received > limit:
            raise SegmindOutputError(f"it has more than the {max_bytes} bytes allowed")
        digest.update(chunk)
        target.write(chunk)
    content_type = response.headers.get("content-type", "").split(";")[0].strip() or None
    return Download(received, digest.hexdigest(), content_type)
