"""Receivers of metrics and traces on real sockets: a statsd server and an OpenTelemetry collector."""

from __future__ import annotations

import gzip
import socket
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Metric:
    """One received metric: ``name,tag=value:1|c``."""

    name: str
    value: float
    kind: str
    tags: dict[str, str]


def read_metric(text: str) -> Metric:
    """Parse a line of statsd with InfluxDB's tags."""
    left, _, right = text.rpartition(":")
    name, *tags = left.split(",")
    value, _, kind = right.partition("|")
    return Metric(name, float(value), kind, dict(tag.split("=", 1) for tag in tags))


class StatsdServer:
    """Receive the datagrams of Airflow's statsd client."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024**2)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.raw: list[str] = []

    def read(self, prefix: str = "airflow.segmind.") -> list[Metric]:
        """Return the metrics received since the last call whose names start with this prefix."""
        self._socket.settimeout(0.2)
        found = []
        while True:
            try:
                text = self._socket.recv(65536).decode()
            except TimeoutError:
                break
            self.raw.append(text)
            found += [read_metric(line) for line in text.splitlines() if line.startswith(prefix)]
        return found

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()


class OtlpCollector:
    """Receive spans by OTLP over HTTP, as protobuf; a context manager."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        bodies = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                bodies.append(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"

    def __enter__(self) -> OtlpCollector:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def spans(self) -> list[dict[str, Any]]:
        """Return every received span: its name, ids, kind and attributes."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        return [
            {
                "name": span.name,
                "id": span.span_id,
                "parent": span.parent_span_id,
                "trace": span.trace_id,
                "kind": span.kind,
                "status": span.status.code,
                "seconds": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                "attributes": {item.key: _plain(item.value) for item in span.attributes},
            }
            for body in list(self.bodies)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


def _plain(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
