"""The emulator's own routes, under ``/_emulator``: for tests in other processes, on loopback only."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from .server import Emulator


def routes(emulator: Emulator) -> list[Route]:
    """Look in (stats, requests, faults), and intervene (faults, clock, reset)."""

    def route(path: str, verb: str, act: Callable[[Emulator, Any], Any]) -> Route:
        endpoint: Callable[[Request], Awaitable[Response]] = partial(_serve, emulator, act)
        return Route(f"/_emulator/{path}", endpoint, methods=[verb])

    return [
        route("stats", "GET", lambda emulator, _: dataclasses.asdict(emulator.stats)),
        route("requests", "GET", lambda emulator, _: [vars(seen) for seen in emulator.requests]),
        route("faults", "GET", lambda emulator, _: emulator.faults.listing()),
        route("faults", "POST", _add_fault),
        route("faults", "DELETE", lambda emulator, _: emulator.faults.clear()),
        route("clock", "POST", lambda emulator, body: emulator.advance(float(body["advance"]))),
        route("reset", "POST", lambda emulator, body: emulator.reset(**(body or {}))),
    ]


async def _serve(emulator: Emulator, act: Callable[[Emulator, Any], Any], request: Request) -> Response:
    client = request.client
    if client is None or not ipaddress.ip_address(client.host).is_loopback:
        return JSONResponse({"error": "The emulator is steered from its own machine only"}, 403)
    try:
        raw = await request.body()
        body = json.loads(raw) if raw else None
        result = await run_in_threadpool(act, emulator, body)
        return JSONResponse({} if result is None else result)
    except (KeyError, TypeError, ValueError) as error:
        return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)


def _add_fault(emulator: Emulator, body: Any) -> list[dict[str, Any]]:
    """``{"faults": "submit:502#1"}``, or the arguments of ``Faults.add`` by name."""
    if not isinstance(body, dict):
        raise TypeError("expected a JSON object")
    if "faults" in body:
        emulator.faults.add_text(body["faults"])
    else:
        emulator.faults.add(**body)
    return emulator.faults.listing()
