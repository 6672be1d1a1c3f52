"""The CPU cost of one GET of a status by client and pool: the reason why polls use aiohttp."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import Part, Ratio, Row
from benchmarks.gateway import gateway
from benchmarks.isolated import in_fresh_process

#: Concurrent callers, as in a busy triggerer.
CALLERS = 100
_SECONDS = 60.0  # timeout of a caller that waits for a connection of a small pool


@dataclass(frozen=True)
class Measured:
    """Seconds of one GET: CPU time of the caller's process, and wall time."""

    cpu: float
    wall: float


def run(quick: bool) -> Part:
    """Measure each transport in its own process."""
    found: dict[str, Measured] = {}
    for name in TRANSPORTS:
        count = (50 if quick else 300) if name == NEW_CLIENT else (1000 if quick else 4000)
        found[name] = in_fresh_process(measure, name, count)
    rows = [
        Row(name, f"{CALLERS} callers", {"CPU per GET (ms)": 1000 * seen.cpu, "wall per GET (ms)": 1000 * seen.wall})
        for name, seen in found.items()
    ]
    chosen = found[CHOSEN].cpu
    return Part(
        name="transport",
        title="One poll: a GET of a request's status",
        conditions=f"{CALLERS} concurrent callers in one event loop and process for each transport, the gateway in "
        "another, plain HTTP on loopback; CPU is that of the callers' process.",
        rows=rows,
        ratios=[
            Ratio(f"CPU per GET, {CHOSEN} (ours) / {name}", chosen / seen.cpu)
            for name, seen in found.items()
            if name != CHOSEN
        ],
    )


def measure(name: str, count: int) -> Measured:
    """Send this many GETs over one transport."""
    with gateway() as server:
        [job] = server.submit("esrgan", 1)
        return asyncio.run(_measure(name, count, f"{server.url}/v2/requests/{job.request_id}/status", server.api_key))


async def _measure(name: str, count: int, url: str, key: str) -> Measured:
    async with AsyncExitStack() as stack:
        get = await TRANSPORTS[name](stack, url, {"x-api-key": key})
        callers = asyncio.Semaphore(CALLERS)

        async def one() -> None:
            async with callers:
                await get()

        await asyncio.gather(*[one() for _ in range(min(count, CALLERS))])
        cpu, wall = time.process_time(), time.perf_counter()
        await asyncio.gather(*[one() for _ in range(count)])
        return Measured((time.process_time() - cpu) / count, (time.perf_counter() - wall) / count)


Get = Callable[[], Awaitable[Any]]
Transport = Callable[[AsyncExitStack, str, dict[str, str]], Awaitable[Get]]


async def _new_client(stack: AsyncExitStack, url: str, headers: dict[str, str]) -> Get:
    import httpx

    async def get() -> None:
        async with httpx.AsyncClient(timeout=_SECONDS) as http:
            (await http.get(url, headers=headers)).raise_for_status()

    return get


def _pooled(size: int, *, over_aiohttp: bool) -> Transport:
    async def make(stack: AsyncExitStack, url: str, headers: dict[str, str]) -> Get:
        import httpx
        import httpx_aiohttp

        limits = httpx.Limits(max_connections=size, max_keepalive_connections=size)
        client = httpx_aiohttp.HttpxAiohttpClient if over_aiohttp else httpx.AsyncClient
        http = await stack.enter_async_context(client(limits=limits, timeout=_SECONDS, trust_env=False))

        async def get() -> None:
            (await http.get(url, headers=headers)).raise_for_status()

        return get

    return make


def _aiohttp(size: int) -> Transport:
    async def make(stack: AsyncExitStack, url: str, headers: dict[str, str]) -> Get:
        import aiohttp

        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=size)))

        async def get() -> None:
            async with http.get(url, headers=headers) as response:
                response.raise_for_status()
                await response.read()

        return get

    return make


NEW_CLIENT = "new httpx client each time"
#: The transport that the provider uses for polls.
CHOSEN = "aiohttp, pool of 32"
TRANSPORTS: dict[str, Transport] = {
    NEW_CLIENT: _new_client,
    **{f"httpx, pool of {size}": _pooled(size, over_aiohttp=False) for size in (100, 16, 4)},
    **{f"httpx over aiohttp, pool of {size}": _pooled(size, over_aiohttp=True) for size in (100, 4)},
    **{f"aiohttp, pool of {size}": _aiohttp(size) for size in (100, 32, 4)},
}
