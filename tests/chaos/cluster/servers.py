"""The servers of a cluster besides PostgreSQL: Redis, and a proxy to the gateway that can be closed."""

from __future__ import annotations

import contextlib
import selectors
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

from demo.airflow_home import free_ports

_PIECE = 1 << 16


def redis_binary() -> str | None:
    """Return the path of Debian's redis-server, or None."""
    return shutil.which("redis-server")


class Redis:
    """
    The broker, with its own port on loopback and no data on disk.

    :param folder: the folder of its log.
    """

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)[0]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, env: dict[str, str]) -> None:
        """Start Redis, and return when it accepts connections."""
        options = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self._folder))
        with (self._folder / "redis.log").open("a") as log:
            self._process = subprocess.Popen(
                [redis_binary() or "redis-server", "--port", str(self.port), *options],
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
            )
        deadline = time.monotonic() + 10
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", self.port)):
                return
            if time.monotonic() > deadline:
                raise RuntimeError("Redis did not start within 10 s: see redis.log")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop Redis if it is running."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=10)


class Proxy:
    """
    A port that forwards to another one while it is open. When it is closed, it refuses new connections and cuts
    existing ones, like a gateway that is stopped, while the accepted requests continue.
    """

    def __init__(self) -> None:
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        self.target = 0
        self._listener: socket.socket | None = None
        self._taken: set[socket.socket] = set()

    def open(self) -> None:
        """Accept connections and forward them."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def close(self) -> None:
        """Refuse new connections and cut existing ones."""
        if self._listener is not None:
            _cut(self._listener)
            self._listener = None
        for one in list(self._taken):
            _cut(one)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = listener.accept()
                threading.Thread(target=self._forward, args=(taken,), daemon=True).start()

    def _forward(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError), near, socket.create_connection(("127.0.0.1", self.target)) as far:
            self._taken |= {near, far}
            try:
                _both_ways(near, far)
            finally:
                self._taken -= {near, far}


def _both_ways(near: socket.socket, far: socket.socket) -> None:
    other = {near: far, far: near}
    with selectors.DefaultSelector() as ready:
        for one in other:
            ready.register(one, selectors.EVENT_READ)
        while True:
            for key, _ in ready.select():
                source = key.fileobj
                if not isinstance(source, socket.socket) or not (piece := source.recv(_PIECE)):
                    return
                other[source].sendall(piece)


def _cut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
