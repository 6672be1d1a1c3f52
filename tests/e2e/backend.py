"""A host that receives OpenLineage events from the HTTP transport."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Backend:
    """Receives events from its construction on; ``reported`` contains the text of each."""

    def __init__(self) -> None:
        self.reported: list[str] = []
        reported = self.reported

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                reported.append(self.rfile.read(int(self.headers["content-length"])).decode())
                self.send_response(201)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop receiving events."""
        self._server.shutdown()
        self._server.server_close()

    def events(self, job: str, kind: str, run_id: str) -> list[dict[str, Any]]:
        """Return the events of a task in one run of its DAG."""
        found = [json.loads(text) for text in list(self.reported) if f'"{job}"' in text]
        return [
            event
            for event in found
            if (event["job"]["name"], event["eventType"]) == (job, kind) and _run_of(event) == run_id
        ]


def _run_of(event: dict[str, Any]) -> str | None:
    facets = event["run"]["facets"]
    run_id: str | None = facets.get("airflow", {}).get("dagRun", {}).get("run_id")
    return run_id
