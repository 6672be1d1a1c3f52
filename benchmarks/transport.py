"""What one GET of a status costs in CPU, by client and pool: why looks go over aiohttp."""

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

#: Callers at once, as in a triggerer full of waits.
CALLERS = 100
_SECONDS = 60.0  # what a caller waits for a connection of a small pool


@dataclass(frozen=True)
class Measured:
    """Seconds of one GET: CPU of the caller's process, and time on the wall."""

    cpu: float
    wall: float


def run(quick: bool) -> Part:
    """Measure each transport in a process of its own."""
    found: dict[str, Measured] = {}
    for name in TRANSPORTS:
        count = (50 if quick else 300) if name == FRESH else (1000 if quick else 4000)
        found[name] = in_fresh_process(measure, name, count)
    rows = [
        Row(name, f"{CALLERS} callers", {"CPU a GET (ms)": 1000 * seen.cpu, "wall a GET (ms)": 1000 * seen.wall})
        for name, seen in found.items()
    ]
    chosen = found[CHOSEN].cpu
    return Part(
        name="transport",
        title="One look: a GET of a request's status",
        conditions=f"{CALLERS} concurrent callers in one event loop and process for each transport, the gateway in "
        "another, plain HTTP on loopback; CPU is that of the callers' process.",
        rows=rows,
        ratios=[
            Ratio(f"CPU a GET, {CHOSEN} (ours) / {name}", chosen / seen.cpu)
            for name, seen in found.items()
            if name != CHOSEN
        ],
    )


def measure(name: str, count: int) -> Measured:
    """Send this many GETs through one transport."""
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


async def _fresh(stack: AsyncExitStack, url: str, headers: dict[str, str]) -> Get:
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


FRESH = "new httpx client each time"
#: What the provider uses for looks.
CHOSEN = "aiohttp, pool of 32"
TRANSPORTS: dict[str, Transport] = {
    FRESH: _fresh,
    **{f"httpx, pool of {size}": _pooled(size, over_aiohttp=False) for size in (100, 16, 4)},
    **{f"httpx over aiohttp, pool of {size}": _pooled(size, over_aiohttp=True) for size in (100, 4)},
    **{f"aiohttp, pool of {size}": _aiohttp(size) for size in (100, 32, 4)},
}
