"""Servers and settings for the client's tests: a recorder with a configured response, and sleeps without waiting."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from airflow_provider_segmind.protocol.settings import connection_settings

KEY = "SG_0123456789abcdef"


def settings_for(url: str, **values):
    return connection_settings({"api_key": KEY, "gateway": url, "read_timeout": 5, **values}, where="test")


class Sleeps(list[float]):
    """Records the seconds of each sleep, and does not sleep."""

    def __call__(self, seconds):
        self.append(seconds)

    async def asleep(self, seconds):
        self.append(seconds)


class Recorder:
    """A server that records calls and sends the configured response."""

    def __init__(self):
        self.seen = []  # (path, headers) of each request
        self.response = (200, {}, b"{}")  # status, headers, body
        self.url = ""


@contextmanager
def recorder() -> Iterator[Recorder]:
    record = Recorder()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            record.seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            status, headers, body = record.response
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    record.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield record
    finally:
        server.shutdown()
        server.server_close()
