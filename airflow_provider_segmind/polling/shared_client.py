"""
What all waits of one connection share: in an event loop one HTTP client, in a process what was learned of each model.

A triggerer runs a thousand waits in one loop. They read the connection once, keep one client with few connections,
and move on together when the connection changes (a key that was rotated, a gateway that moved).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.polling.schedule import Durations

if TYPE_CHECKING:
    from airflow_provider_segmind.client.async_driver import AsyncSegmindClient
    from airflow_provider_segmind.protocol.settings import ConnectionSettings

log = logging.getLogger(__name__)

#: Seconds for which a connection that was read is good for waits that begin.
_FRESH = 30.0

_DURATIONS: defaultdict[tuple[str | None, str], Durations] = defaultdict(Durations)


def durations_of(segmind_conn_id: str | None, model: str) -> Durations:
    """Return what this process has learned of a model over this connection."""
    return _DURATIONS[segmind_conn_id, model]


@dataclass(eq=False)
class _Client:
    """An HTTP client, and how many use it."""

    http: AsyncSegmindClient
    users: int = 0


@dataclass(eq=False)
class _Shared:
    """One connection in one event loop."""

    current: _Client | None = None
    read_at: float = 0.0  # on the monotonic clock
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


_SHARED: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str | None, _Shared]] = WeakKeyDictionary()


class SharedClient:
    """
    One user's share of a connection's client in the running event loop. Make one call at a time, and release it.

    :param segmind_conn_id: the connection.
    :param read: reads it anew.
    """

    def __init__(self, segmind_conn_id: str | None, read: Callable[[], Awaitable[ConnectionSettings]]) -> None:
        self._shared = _SHARED.setdefault(asyncio.get_running_loop(), {}).setdefault(segmind_conn_id, _Shared())
        self._read = read
        self._held: _Client | None = None

    async def client(self) -> AsyncSegmindClient:
        """Return the connection's client as it is now; ask before each call."""
        if self._held is None:
            await self._refresh(_FRESH)
        if (current := self._shared.current) is not None and current is not self._held:
            left, self._held = self._held, current
            current.users += 1
            await self._leave(left)
        if self._held is None:
            raise RuntimeError("a lease without a client")  # _refresh makes one, or raises
        return self._held.http

    async def changed(self) -> bool:
        """Read the connection again, because its key was refused; tell whether it has changed meanwhile."""
        await self._refresh(0.0)
        return self._shared.current is not self._held

    async def release(self) -> None:
        """Give the share back; the last one closes the client."""
        left, self._held = self._held, None
        await self._leave(left)

    async def _leave(self, left: _Client | None) -> None:
        if left is None:
            return
        left.users -= 1
        if left.users == 0:
            if self._shared.current is left:
                self._shared.current = None
            await left.http.close()

    async def _refresh(self, fresh: float) -> None:
        """Read the connection unless that was done within so many seconds, and make a client if it is another."""
        shared, asked_at = self._shared, time.monotonic()
        async with shared.lock:
            if shared.current is not None and shared.read_at > min(asked_at, time.monotonic() - fresh):
                return
            try:
                settings = await self._read()
            except SegmindError as error:
                if shared.current is None:
                    raise
                log.warning("The connection cannot be read anew, so what it was is used: %s", error)
                return
            shared.read_at = time.monotonic()
            if shared.current is None or shared.current.http.settings != settings:
                shared.current = _Client(await asyncio.to_thread(_new_client, settings))


def _new_client(settings: ConnectionSettings) -> AsyncSegmindClient:
    """Make a client, off the loop: the first time it takes 0.2 s of imports and 25 ms for the TLS context."""
    from airflow_provider_segmind.client.async_driver import AsyncSegmindClient

    return AsyncSegmindClient(settings)
