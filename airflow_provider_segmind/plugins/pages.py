"""The plugin's own small site below ``/segmind``: static files, and the previews beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_segmind.plugins.previews import previews_app

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

WWW = Path(__file__).with_name("www")
#: Scripts, styles and calls: of this origin only, nothing inline. Pictures may come from where the outputs lie.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: http: https:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
#: On every answer that does not say otherwise. A browser asks each time whether a file is still the same: after an
#: upgrade no old script may talk to a new page.
HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"cache-control", b"no-cache"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Pages:
    """
    An ASGI application that is built at its first request.

    Airflow imports plugins in every task process, where Starlette alone would cost a quarter of a second. The files
    hold no data and need no login; data comes from Airflow's REST API, which asks for one.
    """

    def __init__(self) -> None:
        self._site: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._site is None:
            self._site = _site()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                named = {name.lower() for name, _ in given}
                message = {**message, "headers": [*given, *(pair for pair in HEADERS if pair[0] not in named)]}
            await send(message)

        await self._site(scope, receive, send_with_headers)


class _Previews:
    """The previews' application as an object: Starlette takes a plain function for a view of its own kind."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _site() -> ASGIApp:
    """Return the site."""
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    def models(request: Request) -> Response:
        return Response(models_script(), media_type="text/javascript")

    preview, script = Route("/preview", _Previews(previews_app)), Route("/models.js", models)
    return Starlette(routes=[preview, script, Mount("/", StaticFiles(directory=WWW))])


def models_script() -> str:
    """Return ``models.js``: the table of models as the pages need it, the slug of each typed operator."""
    from airflow_provider_segmind.protocol.models import MODELS

    slugs = {model.operator: slug for slug, model in MODELS.items()}
    return f"export const MODEL_OF = {json.dumps(slugs, indent=2)};\n"
