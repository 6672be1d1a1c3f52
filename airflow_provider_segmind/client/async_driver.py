"""The client for an event loop: a triggerer sends the polls of a thousand waits through one of these."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self, TypeVar

import aiohttp
import httpx
from tenacity import AsyncRetrying

from airflow_provider_segmind.client.driver import Driver
from airflow_provider_segmind.client.transport import (
    HEADERS,
    client_options,
    ssl_context,
    trusts_env,
    unresponded,
)
from airflow_provider_segmind.protocol.calls import Call
from airflow_provider_segmind.protocol.lifetimes import AT_ONCE
from airflow_provider_segmind.protocol.responses import Response
from airflow_provider_segmind.protocol.settings import ConnectionSettings
from airflow_provider_segmind.retry_budget import RetryBudget

T = TypeVar("T")

#: Maximum TCP connections of one client: enough for 150 polls a second at a round trip of 200 ms.
CONNECTIONS = 32


class AsyncSegmindClient(Driver):
    """
    Send calls on an event loop, see :class:`~airflow_provider_segmind.client.driver.SegmindClient`.

    Calls that are free (every poll) use aiohttp, which takes a fifth of httpx's CPU (docs/performance.md). Calls that
    are billed use httpx, as in a task process: its errors show whether the request was sent.

    :param settings: the validated connection.
    :param sleep: pauses between two attempts (seconds); for tests.
    :param kwargs: ``budget`` and ``clock``, see :class:`~airflow_provider_segmind.client.driver.SegmindClient`.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        **kwargs: Any,
    ) -> None:
        super().__init__(settings, **kwargs)
        self._sleep = sleep
        self._verify = ssl_context(settings.verify)
        self._free: aiohttp.ClientSession | None = None
        self._paid: httpx.AsyncClient | None = None

    async def send(self, call: Call[T], *, budget: RetryBudget | None = None) -> T:
        """
        Send a call and return the parsed response. It is retried only if a retry cannot be billed twice.

        :param call: the call.
        :param budget: attempts and seconds (default: the client's).
        :raises SegmindError: every attempt failed, or the error is not retryable.
        """
        budget = budget or self.budget
        if budget.attempts == 1:
            return await self._send_once(call)
        return await AsyncRetrying(sleep=self._sleep, **self._retry(call, budget))(self._send_once, call)

    async def _send_once(self, call: Call[T]) -> T:
        received = await (self._send_free(call) if call.replayable else self._send_paid(call))
        return call.parse(received)

    async def _send_free(self, call: Call[Any]) -> Response:
        if self._free is None:
            self._free = self._session()
        request, began = self._request(call), self._clock()
        try:
            async with self._free.request(**request, proxy=self.settings.proxy, allow_redirects=False) as response:
                return self._response(response.status, response.raw_headers, await response.read(), began=began)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise unresponded(call, error, self.settings) from error

    async def _send_paid(self, call: Call[Any]) -> Response:
        if self._paid is None:
            self._paid = httpx.AsyncClient(**client_options(self.settings, connections=AT_ONCE))
        began = self._clock()
        try:
            response = await self._paid.request(**self._request(call))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise unresponded(call, error, self.settings) from error
        return self._response(response.status_code, response.headers.raw, response.content, began=began)

    def _session(self) -> aiohttp.ClientSession:
        """Return a session with the same options as the httpx clients; it belongs to the running event loop."""
        settings = self.settings
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=self._verify),
            headers=HEADERS,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(sock_connect=settings.connect_timeout, sock_read=settings.read_timeout),
            trust_env=trusts_env(settings),
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._free is not None:
            await self._free.close()
        if self._paid is not None:
            await self._paid.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()
