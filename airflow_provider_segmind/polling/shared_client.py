"""
The HTTP client that all waits for requests of one connection share in one event loop.

A triggerer runs a thousand waits in one event loop. They read the connection once, use one client with few TCP
connections, and switch to another client together when the connection has changed (a rotated key, another gateway).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self, TypeVar
from weakref import WeakKeyDictionary

from airflow_provider_segmind.exceptions import SegmindAuthError, SegmindError
from airflow_provider_segmind.hooks.async_client import new_async_client
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.polling.limits import limits_of

if TYPE_CHECKING:
    from airflow_provider_segmind.client.async_driver import AsyncSegmindClient
    from airflow_provider_segmind.protocol.calls import Call
    from airflow_provider_segmind.protocol.settings import ConnectionSettings
    from airflow_provider_segmind.retry_budget import RetryBudget

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Seconds for which the connection is not read again by waits that start.
_MAX_AGE = 30.0


@dataclass(eq=False)
class _Client:
    """An HTTP client and the number of its users."""

    http: AsyncSegmindClient
    users: int = 0


@dataclass(eq=False)
class _Shared:
    """The state of one connection in one event loop."""

    current: _Client | None = None
    read_at: float = 0.0  # on the monotonic clock
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


_SHARED: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str | None, _Shared]] = WeakKeyDictionary()


class SharedClient:
    """
    One user of a connection's shared client in the running event loop.

    Send one call at a time. Release it after use, or use it in an ``async with``.

    :param segmind_conn_id: Airflow connection, or None for the key in the environment.
    :param read: reads the connection; default: through a :class:`.SegmindHook`.
    """

    def __init__(
        self, segmind_conn_id: str | None, read: Callable[[], Awaitable[ConnectionSettings]] | None = None
    ) -> None:
        self.segmind_conn_id = segmind_conn_id
        self._shared = _SHARED.setdefault(asyncio.get_running_loop(), {}).setdefault(segmind_conn_id, _Shared())
        self._read = read or self._read_connection
        self._held: _Client | None = None

    async def _read_connection(self) -> ConnectionSettings:
        return await SegmindHook(self.segmind_conn_id).asettings()  # a hook reads the connection once: use a new one

    async def get(self) -> AsyncSegmindClient:
        """
        Return the connection's current client. Call this before each call, because the connection may have changed.

        :raises SegmindError: the connection is missing or invalid, and no other wait has a client for it.
        """
        if self._held is None:
            await self._refresh(_MAX_AGE)
        if (current := self._shared.current) is not None and current is not self._held:
            previous, self._held = self._held, current
            current.users += 1
            await self._leave(previous)
        if self._held is None:
            raise RuntimeError("a shared client without a client")  # _refresh sets one, or raises
        return self._held.http

    async def send(self, call: Call[T], *, budget: RetryBudget | None = None) -> T:
        """
        Send a call, and send it again if its key is refused and the connection has another one by now.

        :param budget: attempts and seconds; default: the client's.
        :raises SegmindError: the call failed, or the connection is missing or invalid.
        """
        while True:
            http = await self.get()
            try:
                return await http.send(call, budget=budget)
            except SegmindAuthError:
                if not await self.reread():
                    raise

    async def reread(self) -> bool:
        """Read the connection again, after its key was refused, and return whether it has changed."""
        await self._refresh(0.0)
        return self._shared.current is not self._held

    async def release(self) -> None:
        """Release the client; its last user closes it."""
        previous, self._held = self._held, None
        await self._leave(previous)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.release()

    async def _leave(self, client: _Client | None) -> None:
        if client is None:
            return
        client.users -= 1
        if client.users == 0:
            if self._shared.current is client:
                self._shared.current = None
            await client.http.close()

    async def _refresh(self, max_age: float) -> None:
        """
        Read the connection, and replace the client if the connection has changed.

        :param max_age: do nothing if the connection was read during the last ``max_age`` seconds.
        """
        shared, asked_at = self._shared, time.monotonic()
        async with shared.lock:
            if shared.current is not None and shared.read_at > min(asked_at, time.monotonic() - max_age):
                return
            try:
                settings = await self._read()
            except SegmindError as error:
                if shared.current is None:
                    raise
                log.warning(
                    "Connection %r cannot be read again; its previous settings stay in use: %s",
                    self.segmind_conn_id,
                    error,
                )
                return
            shared.read_at = time.monotonic()
            limits_of(self.segmind_conn_id).poll_budget.polls_per_minute = settings.polls_per_minute
            if shared.current is None or shared.current.http.settings != settings:
                shared.current = _Client(await new_async_client(settings))
