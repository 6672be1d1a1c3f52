"""The entry point of the preview route: nothing is imported before the first request."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send


async def previews_app(scope: Scope, receive: Receive, send: Send) -> None:
    """
    Serve ``GET preview?dag_id=…&run_id=…&task_id=…&map_index=…&which=before|after&n=0``.

    An ASGI application below the plugin's own prefix; see :mod:`~airflow_provider_segmind.plugins.preview_route`.
    """
    from airflow_provider_segmind.plugins.preview_route import app

    await app(scope, receive, send)
