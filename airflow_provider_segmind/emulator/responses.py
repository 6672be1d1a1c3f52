"""Responses, with and without faults. A dropped one closes the client's real connection."""

from __future__ import annotations

import asyncio
import http
import json
import random
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .faults import Fault

_connections: dict[Any, TrackedProtocol] = {}


class TrackedProtocol(H11Protocol):
    """uvicorn's protocol, registered so that a response can find and close its connection."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        peer = transport.get_extra_info("peername") or ("", 0)  # None if the client has already disconnected
        # Both ends: two emulators in one process may see the same client port.
        self._address = (*peer[:2], transport.get_extra_info("sockname")[1])
        self.closed = asyncio.Event()
        _connections[self._address] = self
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        _connections.pop(self._address, None)
        self.closed.set()


async def _close(scope: Scope, *, flush: bool) -> None:
    """Close the connection and wait until uvicorn has seen it, so that it expects no further response."""
    connection = _connections.get((*scope["client"], scope["server"][1]))
    if connection is None:
        return
    if flush:
        connection.transport.close()
    else:
        connection.transport.abort()
    await connection.closed.wait()


class Dropped(Response):
    """Close the connection without a response."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _close(scope, flush=False)


class Truncated(Response):
    """Send all headers and half of the body, then close the connection."""

    def __init__(self, whole: Response) -> None:
        super().__init__(whole.body, whole.status_code)
        self.raw_headers = whole.raw_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body[: len(self.body) // 2])
        await send({"type": "http.response.body", "body": half, "more_body": True})
        await _close(scope, flush=True)


class Cut(Response):
    """Send half of the body as if it were complete: without its length, on a connection that stays open."""

    def __init__(self, whole: Response) -> None:
        super().__init__(whole.body[: len(whole.body) // 2], whole.status_code)
        self.raw_headers = [pair for pair in whole.raw_headers if pair[0] != b"content-length"]


class Ranged(Response):
    """Send the first bytes of the body with status 206 and the ``Content-Range`` that they are."""

    def __init__(self, whole: Response, length: int) -> None:
        size = len(whole.body)
        headers = {"content-range": f"bytes 0-{length - 1}/{size}"}
        super().__init__(whole.body[:length], 206, headers, whole.media_type)


class Dated:
    """An application whose responses carry the time of the emulator's clock in ``Date``."""

    def __init__(self, app: ASGIApp, clock: Callable[[], float]) -> None:
        self._app, self._clock = app, clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start" and b"date" not in dict(message["headers"]):
                date = formatdate(self._clock(), usegmt=True).encode()
                message = {**message, "headers": [(b"date", date), *message["headers"]]}
            await send(message)

        await self._app(scope, receive, dated)


def refusal(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as the gateway sends it: JSON with one key, except 405, which is a web page."""
    if status == 405:
        return web_page(405, headers)
    return JSONResponse({"error": message}, status, headers=dict(headers or {}))


def web_page(status: int, headers: Mapping[str, str] | None = None) -> Response:
    """Return an HTML error page, as gateways and proxies send it."""
    title = f"{status} {http.HTTPStatus(status).phrase}"
    html = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return HTMLResponse(html, status, headers=dict(headers or {}))


async def before(fault: Fault) -> Response | None:
    """Return the response of a fault that replaces the call; None if the call continues."""
    if fault.kind == "delay":
        await asyncio.sleep(float(fault.argument))
    elif fault.kind == "drop_before":
        return Dropped()
    elif fault.kind == "redirect":
        return RedirectResponse(fault.argument, 307, headers=fault.headers)
    elif fault.kind == "html":
        return web_page(int(fault.argument or 200), fault.headers)
    elif fault.kind == "status":
        return _with_status(int(fault.argument), fault)
    return None


def _with_status(status: int, fault: Fault) -> Response:
    if isinstance(fault.body, str | bytes):
        return Response(fault.body, status, headers=fault.headers)
    if fault.body is not None:
        return JSONResponse(fault.body, status, headers=fault.headers)
    known = status in http.HTTPStatus._value2member_map_
    return refusal(status, http.HTTPStatus(status).phrase if known else f"status {status}", fault.headers)


def _with_success(status: int, response: Response) -> Response:
    if status == 206:
        return Ranged(response, len(response.body))
    return Response(response.body, status, media_type=response.media_type)


def after(fault: Fault, response: Response) -> Response:
    """Return the response after a fault that applies once the call took effect."""
    if fault.kind == "drop_after":
        return Dropped()
    if fault.kind == "status_after":
        return _with_status(int(fault.argument), fault)
    if fault.kind == "empty":
        return Response(media_type=response.media_type, headers=fault.headers)
    if fault.kind == "truncate":
        return Truncated(response)
    if fault.kind == "cut":
        return Cut(response)
    if fault.kind == "partial":
        return Ranged(response, len(response.body) // 2)
    if fault.kind == "success":
        return _with_success(int(fault.argument), response)
    if fault.kind == "garbage":
        noise = random.Random(fault.fired).randbytes(64)  # noqa: S311 - repeatable, not secret
        return Response(b"\xff" + noise, 200, media_type="application/json")
    if fault.kind == "missing_fields" and response.media_type == "application/json":
        body = json.loads(bytes(response.body))
        return JSONResponse(
            {key: value for key, value in body.items() if key not in ("request_id", "status")},
            response.status_code,
        )
    return response
