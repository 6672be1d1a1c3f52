"""The plugin's site below ``/segmind``: static files, and the route that serves previews."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

WWW = Path(__file__).with_name("www")
#: Scripts, styles and calls: from this origin only, nothing inline. Images: from any host, where outputs may be.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: http: https:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
#: Headers of every response that does not set its own. A browser revalidates each file each time, so that after an
#: upgrade no page runs an old script.
HEADERS = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"cache-control", b"no-cache"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


class Pages:
    """
    Build the site at its first request, and serve it as an ASGI application.

    Airflow imports plugins in every task process, where importing Starlette takes a quarter of a second. The files
    contain no data and need no login; data comes from Airflow's REST API, which requires one.
    """

    def __init__(self) -> None:
        self._site: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self._site is None:
            self._site = _site()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                named = {name.lower() for name, _ in given}
                message = {**message, "headers": [*given, *(pair for pair in HEADERS if pair[0] not in named)]}
            await send(message)

        await self._site(scope, receive, send_with_headers)


class _PreviewRoute:
    """
    The ASGI application of ``preview_route.py``, which is imported at the first request for a preview.

    An object, because Starlette treats a plain function as a view of its own kind.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from airflow_provider_segmind.plugins.preview_route import app

        await app(scope, receive, send)


def _site() -> ASGIApp:
    """Return the site."""
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    def models(request: Request) -> Response:
        return Response(models_script(), media_type="text/javascript")

    preview, script = Route("/preview", _PreviewRoute()), Route("/models.js", models)
    return Starlette(routes=[preview, script, Mount("/", StaticFiles(directory=WWW))])


def models_script() -> str:
    """Return ``models.js``: the table of models as the pages need it, the slug of each typed operator."""
    from airflow_provider_segmind.protocol.models import MODELS

    slugs = {model.operator: slug for slug, model in MODELS.items()}
    return f"export const MODEL_OF = {json.dumps(slugs, indent=2)};\n"
