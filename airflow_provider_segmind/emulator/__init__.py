"""A stand-in for Segmind's gateway: real sockets, real pixels, no key and no network needed.

It implements the asynchronous and the blocking API, upload, credits and request history, and fails on
demand. Start it as a command (``python -m airflow_provider_segmind.emulator``), in a test (``with
Emulator() as emulator:``) or through the pytest fixture ``segmind_emulator``.

For loopback use only: it has no TLS, accepts any well-formed key and fetches the URLs it receives.

Starlette, uvicorn and Pillow are imported on the first access to ``Emulator``, so that pytest loads the
plugin quickly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .records import RecordedRequest, Stats
    from .server import Emulator

__all__ = ["Emulator", "RecordedRequest", "Stats"]


def __getattr__(name: str) -> Any:
    if name == "Emulator":
        from .server import Emulator

        return Emulator
    if name in ("RecordedRequest", "Stats"):
        from . import records

        return getattr(records, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
