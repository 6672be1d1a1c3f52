"""Source and destination of a large output, as processes: a fast file server and a server of the S3 protocol."""

from __future__ import annotations

import logging
import multiprocessing
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import BinaryIO

_START_SECONDS = 60.0


@contextmanager
def output_host(size: int) -> Iterator[str]:
    """Serve one output of ``size`` bytes as fast as the kernel sends it; yield its URL."""
    with _process(_file_server, size) as address:
        yield f"http://{address}/output.bin"


@contextmanager
def s3_host() -> Iterator[str]:
    """Run a server of the S3 protocol (moto, which stores the objects); yield its address."""
    with _process(_s3_server) as address:
        yield f"http://{address}"


@contextmanager
def _process(start: Callable[..., str], *arguments: int) -> Iterator[str]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, start, *arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(_START_SECONDS):
            raise RuntimeError(f"{start.__name__} did not start")
        yield ours.recv()
    finally:
        ours.close()  # closing the pipe ends the process
        process.join()


def _serve(pipe: Connection, start: Callable[..., str], *arguments: int) -> None:
    pipe.send(start(*arguments))
    with suppress(EOFError):
        pipe.recv()


def _file_server(size: int) -> str:
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listener, size), daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}"


def _accept(listener: socket.socket, size: int) -> None:
    with tempfile.TemporaryFile(prefix="segmind-bench-") as file:
        file.truncate(size)  # not an image and not on disk: only the transfer is measured
        while True:
            connection, _ = listener.accept()
            with connection, suppress(ConnectionError):
                _response(connection, file, size)


def _response(connection: socket.socket, file: BinaryIO, size: int) -> None:
    """Serve one GET and close. The body goes from the page cache to the socket."""
    asked = b""
    while b"\r\n\r\n" not in asked:
        if not (more := connection.recv(65536)):
            return
        asked += more
    connection.sendall(
        b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nconnection: close\r\n"
        b"content-length: %d\r\n\r\n" % size
    )
    connection.sendfile(file, 0)


def _s3_server() -> str:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    return f"{host}:{port}"
