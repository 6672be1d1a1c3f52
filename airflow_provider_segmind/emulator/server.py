"""The emulator as an object: a uvicorn server in its own thread."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from mimetypes import guess_type
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import uvicorn

from . import samples
from .app import build
from .control import Control
from .pixels import Product
from .responses import TrackedProtocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .faults import Faults
    from .records import RecordedRequest, Stats
    from .settings import Settings
    from .state import State

_START_TIMEOUT = 10.0
_STOP_TIMEOUT = 5.0

log = logging.getLogger(__name__)


class Emulator:
    """
    Segmind's gateway on a port of this machine.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`.

    :param port: port to listen on; 0 (the default) selects a free one.
    :param host: address to listen on (default: ``127.0.0.1``).
    :param public_url: base of the URLs in responses, if clients reach the emulator at another address.
    :param clock: source of the time, in seconds since the epoch.
    :param settings: fields of :class:`~.settings.Settings`, such as ``latency`` and ``credits``.
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
        self._control = Control(clock=clock, **settings)
        self._control.state.base_url = self.url
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    # --- start and stop ---

    def start(self) -> Self:
        """Bind the port and serve from a thread. Return once the server accepts calls."""
        if self._thread is not None:
            raise RuntimeError(f"the emulator is already running on {self.url}")
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # asyncio sets TCP_NODELAY only if the protocol is named; without it, each response takes 40 ms.
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
                build(self._control),
                http=TrackedProtocol,
                ws="none",
                loop="asyncio",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                date_header=False,  # build() adds it, from the emulator's clock
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
                raise RuntimeError(f"the emulator on {self.url} did not start within {_START_TIMEOUT:g} s")
            time.sleep(0.002)
        return self

    def stop(self) -> None:
        """Stop serving and free the port. A later start keeps the jobs and the port."""
        if self._server is None or self._thread is None:
            return
        self._server.should_exit = True
        self._thread.join(_STOP_TIMEOUT)
        if self._thread.is_alive():
            log.warning("The emulator's server thread did not stop within %s s", _STOP_TIMEOUT)
        self._server = self._thread = None
        self._control.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    # --- addresses ---

    @property
    def url(self) -> str:
        """The base of the URLs in responses."""
        if self._public_url is not None:
            return self._public_url.rstrip("/")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    @property
    def api_key(self) -> str:
        """A key that the emulator accepts."""
        return self.state.settings.api_key

    @property
    def connection_uri(self) -> str:
        """A value for ``AIRFLOW_CONN_SEGMIND_DEFAULT``."""
        return json.dumps({"conn_type": "segmind", "host": self.url, "password": self.api_key})

    @property
    def sample_urls(self) -> list[str]:
        """The URLs of the sample images. They are the same after every start on the same port."""
        return [self.sample_url(name) for name in samples.CONTENT_TYPES]

    def sample_url(self, name: str = "cat.jpg") -> str:
        """
        Return the URL of a sample image.

        :param name: ``cat.jpg`` (the default), ``galaxies.webp`` or ``portrait-alpha.png``.
        """
        if name not in samples.CONTENT_TYPES:
            raise ValueError(f"no sample image is named {name!r}; there are {', '.join(samples.CONTENT_TYPES)}")
        return f"{self.url}/samples/{name}"

    # --- state ---

    @property
    def state(self) -> State:
        """The state in force. A reset replaces it."""
        return self._control.state

    @property
    def faults(self) -> Faults:
        """The faults in force."""
        return self._control.faults

    @property
    def settings(self) -> Settings:
        """The settings in force. Use :meth:`reset` to change them."""
        return self.state.settings

    @property
    def stats(self) -> Stats:
        """The counters now. Waits for pixel work that is due, so that billing is complete."""
        return self._control.stats

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every accepted request, oldest first."""
        return self._control.requests

    def advance(self, seconds: float) -> None:
        """Move the emulator's clock forward."""
        self._control.advance(seconds)

    def reset(self, **settings: Any) -> None:
        """Drop every job, file, counter and fault, and apply ``settings`` on top of the first ones."""
        self._control.reset(**settings)

    def add_image(self, image: str | Path | bytes, name: str | None = None) -> str:
        """
        Serve an image and return its URL.

        :param image: path or bytes of the image.
        :param name: file name in the URL (default: the name of the file, or ``image``).
        """
        if not self._port:
            raise RuntimeError("the emulator has no address yet: call start() before add_image()")
        if isinstance(image, bytes):
            data, name = image, name or "image"
        else:
            data, name = Path(image).read_bytes(), name or Path(image).name
        content_type = guess_type(name)[0] or "application/octet-stream"
        return self.state.keep_file(Product(data, content_type, ""), name)
