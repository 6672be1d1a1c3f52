"""
The client that sends any call from a task process, and what it shares with the client for event loops.

``protocol/`` decides which calls may be retried, and parses the responses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, Self, TypeVar

import httpx
from tenacity import Retrying

from airflow_provider_segmind.client.download import Download, download
from airflow_provider_segmind.client.transport import Redaction, client_options, reason, unresponded
from airflow_provider_segmind.exceptions import SegmindConnectionError
from airflow_provider_segmind.protocol.calls import Call
from airflow_provider_segmind.protocol.lifetimes import AT_ONCE
from airflow_provider_segmind.protocol.responses import Response, timestamp
from airflow_provider_segmind.protocol.settings import ConnectionSettings
from airflow_provider_segmind.retry_budget import RetryBudget, retry_options

T = TypeVar("T")

#: Seconds; the ``Date`` of a response that took longer is not used, because it may be that old.
_PROMPT = 5.0


class Driver:
    """
    What both clients share: URLs, headers, and the conversion of responses.

    :param settings: the validated connection.
    :param budget: attempts and seconds for one call (default: 6 attempts in 120 seconds).
    :param clock: the current time (epoch seconds); for tests.
    """

    def __init__(
        self,
        settings: ConnectionSettings,
        *,
        budget: RetryBudget | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        Redaction.keys.add(settings.api_key.get_secret_value())
        self.budget = budget or RetryBudget()
        self._clock = clock
        #: Seconds by which Segmind's clock is ahead of ours, by the latest ``Date`` of a response; None without one.
        self.skew: float | None = None

    def _request(self, call: Call[Any]) -> dict[str, Any]:
        """Return the arguments for httpx. The key is added only here, and sent only to the connection's own hosts."""
        return {
            "method": call.method,
            "url": self.settings.base_url(call.service) + call.path,
            "json": call.body,
            "params": call.query,
            "headers": {"x-api-key": self.settings.api_key.get_secret_value()},
        }

    def _response(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], content: bytes, *, began: float
    ) -> Response:
        """
        Convert a response, with the key redacted in case the gateway echoes it, and update ``skew``.

        :param began: when the request was sent (epoch seconds).
        """
        key = self.settings.api_key.get_secret_value()
        pairs = ((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)
        clean = {name: value.replace(key, "***") for name, value in pairs}
        now = self._clock()
        cached = clean.get("age", "0") != "0"  # then Date is older than the response
        if (date := timestamp(clean.get("date"))) is not None and not cached and 0 <= now - began <= _PROMPT:
            self.skew = date.timestamp() + 0.5 - now  # Date has whole seconds
        return Response(status, clean, content.replace(key.encode(), b"***"))

    def _retry(self, call: Call[Any], budget: RetryBudget) -> dict[str, Any]:
        return retry_options(call.may_replay, budget, call.name, self._clock)


class SegmindClient(Driver):
    """
    Send calls in a task process. The client keeps connections alive; close it, or use it in a ``with``.

    :param settings: the validated connection.
    :param sleep: pauses between two attempts (seconds); for tests.
    :param kwargs: ``budget`` (attempts and seconds for one call) and ``clock`` (epoch seconds; for tests).
    """

    def __init__(
        self, settings: ConnectionSettings, *, sleep: Callable[[float], None] = time.sleep, **kwargs: Any
    ) -> None:
        super().__init__(settings, **kwargs)
        self._sleep = sleep
        self._http = httpx.Client(**client_options(self.settings, connections=AT_ONCE))

    def send(self, call: Call[T], *, budget: RetryBudget | None = None) -> T:
        """
        Send a call and return the parsed response. It is retried only if a retry cannot be billed twice.

        :param call: the call.
        :param budget: attempts and seconds (default: the client's).
        :raises SegmindError: every attempt failed, or the error is not retryable.
        """
        result: T = Retrying(sleep=self._sleep, **self._retry(call, budget or self.budget))(self._send_once, call)
        return result

    def _send_once(self, call: Call[T]) -> T:
        began = self._clock()
        try:
            response = self._http.request(**self._request(call))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise unresponded(call, error, self.settings) from error
        return call.parse(self._response(response.status_code, response.headers.raw, response.content, began=began))

    def connect(self) -> None:
        """
        Open a TCP connection to the gateway and keep it, so that the next submit does not have to.

        :raises SegmindConnectionError: the gateway cannot be reached.
        """
        options = retry_options(lambda error: error.retryable, self.budget, "connect", self._clock)
        Retrying(sleep=self._sleep, **options)(self._connect)

    def _connect(self) -> None:
        began = self._clock()
        try:
            response = self._http.head(self.settings.gateway)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise SegmindConnectionError(f"connect to {self.settings.gateway}: {reason(error)}") from error
        self._response(response.status_code, response.headers.raw, b"", began=began)

    def download(
        self, url: str, target: BinaryIO, *, max_bytes: int | None = None, budget: RetryBudget | None = None
    ) -> Download:
        """Stream an output into a file, see :func:`download`."""
        budget = budget or self.budget
        return download(self.settings, url, target, max_bytes=max_bytes, budget=budget, sleep=self._sleep)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
