"""The emulator as an object: a uvicorn server in a thread of its own."""

from __future__ import annotations

import dataclasses
import json
import logging
import socket
import threading
import time
from mimetypes import guess_type
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import uvicorn

from .app import build
from .clock import Clock
from .faults import Faults
from .pixels import Product, Workshop
from .responses import TrackedProtocol
from .settings import Settings
from .state import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .records import RecordedRequest, Stats

_START_TIMEOUT = 10.0
_STOP_TIMEOUT = 5.0

log = logging.getLogger(__name__)


class Emulator:
    """Segmind's gateway on a port of this machine.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`. Further keyword arguments are
    the fields of :class:`~.settings.Settings`: ``latency``, ``credits``, ``retention``, ``api_key``…
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        public_url: str | None = None,
        clock: Callable[[], float] = time.time,
        **settings: Any,
    ) -> None:
        self._host = host
        self._port = port
        self._public_url = public_url
        self._clock_source = clock
        self._workshop = Workshop()
        self.faults = Faults()
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._first_settings = _settings(settings)
        self.state = self._new_state(self._first_settings)

    # -- running

    def start(self) -> Self:
        """Bind the port and serve from a thread. Returns once requests are answered."""
        if self._thread is not None:
            raise RuntimeError("this emulator runs already")
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # The protocol is named so that asyncio sets TCP_NODELAY: without it, each answer takes 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self._host, self._port))
            listener.listen(2048)
        except OSError:
            listener.close()
            raise
        self._port = listener.getsockname()[1]
        self.state.base_url = self.url
        self._server = uvicorn.Server(
            uvicorn.Config(
                build(self),
                http=TrackedProtocol,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                date_header=False,  # build() adds it: by the emulator's clock
                timeout_keep_alive=30,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="segmind-emulator", daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                self.stop()
                raise RuntimeError("the emulator did not start")
            time.sleep(0.002)
        return self

    def stop(self) -> None:
        """Stop serving and free the port. It can be started again, with its jobs and on the same port."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(_STOP_TIMEOUT)
        if self._thread.is_alive():
            log.warning("the emulator's server thread did not stop within %s s", _STOP_TIMEOUT)
        self._server = self._thread = None
        self._workshop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # -- where it is

    @property
    def url(self) -> str:
        """The address that answers and output URLs are built on."""
        if self._public_url is not None:
            return self._public_url.rstrip("/")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    @property
    def api_key(self) -> str:
        """A key that it accepts."""
        return self.state.settings.api_key

    @property
    def connection_uri(self) -> str:
        """A value for ``AIRFLOW_CONN_SEGMIND_DEFAULT``."""
        return json.dumps({"conn_type": "segmind", "host": self.url, "password": self.api_key})

    # -- looking in and intervening

    @property
    def settings(self) -> Settings:
        """The settings in force. Use :meth:`reset` to change them."""
        return self.state.settings

    @property
    def stats(self) -> Stats:
        """The counters now. Waits for pixel work that is due, so that billing is complete."""
        self.state.wait_for_pixels()
        return self.state.stats()

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every accepted request, oldest first."""
        self.state.wait_for_pixels()
        return self.state.requests()

    def advance(self, seconds: float) -> None:
        """Move the emulator's clock forward."""
        self.state.clock.advance(seconds)

    def reset(self, **settings: Any) -> None:
        """Forget every job, file, counter and fault; behave as at the start, changed by ``settings``."""
        state = self._new_state(_settings(settings, self._first_settings))
        self._workshop.forget()
        self.state = state

    def add_image(self, image: str | Path | bytes, name: str | None = None) -> str:
        """Serve a picture (a file, or its bytes) and return the URL from which a model can fetch it."""
        if not self._port:
            raise RuntimeError("the emulator has no address before it is started")
        if isinstance(image, bytes):
            data, name = image, name or "picture"
        else:
            data, name = Path(image).read_bytes(), name or Path(image).name
        content_type = guess_type(name)[0] or "application/octet-stream"
        return self.state.keep_file(Product(data, content_type, ""), name)

    def _new_state(self, settings: Settings) -> State:
        self.faults.restart(settings.seed, settings.faults)
        state = State(settings, Clock(self._clock_source, settings.clock_skew), self._workshop, self.faults)
        state.base_url = self.url
        return state


def _settings(given: dict[str, Any], base: Settings | None = None) -> Settings:
    """Settings from keyword arguments; None means the default, as where an option was not given."""
    given = {name: value for name, value in given.items() if value is not None}
    if "extra_models" in given:
        given["extra_models"] = tuple(given["extra_models"])
    return Settings(**given) if base is None else dataclasses.replace(base, **given)
