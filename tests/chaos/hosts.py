"""A small host beside the gateway: it serves an image under any name and records the calls."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

IMAGE = Path(__file__).parents[1] / "photos" / "cat.jpg"


class ImageHost:
    """
    Serves one image under every name, and records the headers of every call.

    Each case uses its own name, so that its calls can be distinguished. Paths that begin with ``/private/`` ask for a
    password, as a host does that tries to obtain credentials.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        seen, content = self.seen, IMAGE.read_bytes()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append((self.path, str(self.headers)))
                length = int(self.headers.get("content-length") or 0)
                if length:
                    seen[-1] = (self.path, f"{self.headers}{self.rfile.read(length)!r}")
                private = self.path.startswith("/private/")
                self.send_response(401 if private else 200)
                if private:
                    self.send_header("WWW-Authenticate", 'Basic realm="outputs"')
                self.send_header("Content-Type", "image/jpeg")
                body = b"" if private else content
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Serve from a thread."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._running = True

    def stop(self) -> None:
        """Stop serving."""
        if getattr(self, "_running", False):
            self._running = False
            self._server.shutdown()
        self._server.server_close()
