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

    from .control import Control


def routes(control: Control) -> list[Route]:
    """Return the routes that read the state (stats, requests, faults) and change it (faults, clock, reset)."""

    def route(path: str, verb: str, act: Callable[[Control, Any], Any]) -> Route:
        endpoint: Callable[[Request], Awaitable[Response]] = partial(_serve, control, act)
        return Route(f"/_emulator/{path}", endpoint, methods=[verb])

    return [
        route("stats", "GET", lambda control, _: dataclasses.asdict(control.stats)),
        route("requests", "GET", lambda control, _: [vars(request) for request in control.requests]),
        route("faults", "GET", lambda control, _: control.faults.listing()),
        route("faults", "POST", _add_fault),
        route("faults", "DELETE", lambda control, _: control.faults.clear()),
        route("clock", "POST", lambda control, body: control.advance(float(body["advance"]))),
        route("reset", "POST", lambda control, body: control.reset(**(body or {}))),
    ]


async def _serve(control: Control, act: Callable[[Control, Any], Any], request: Request) -> Response:
    client = request.client
    if client is None or not ipaddress.ip_address(client.host).is_loopback:
        return JSONResponse({"error": "/_emulator accepts calls from the emulator's own machine only"}, 403)
    try:
        raw = await request.body()
        body = json.loads(raw) if raw else None
        result = await run_in_threadpool(act, control, body)
        return JSONResponse({} if result is None else result)
    except (KeyError, TypeError, ValueError) as error:
        return JSONResponse({"error": f"{type(error).__name__}: {error}"}, 400)


def _add_fault(control: Control, body: Any) -> list[dict[str, Any]]:
    """Add faults from ``{"faults": "submit:502#1"}``, or from the arguments of ``Faults.add`` by name."""
    if not isinstance(body, dict):
        raise TypeError("expected a JSON object")
    if "faults" in body:
        control.faults.add_text(body["faults"])
    else:
        control.faults.add(**body)
    return control.faults.listing()
