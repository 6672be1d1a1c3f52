"""What every connection of ours has in common: TLS, time-outs, limits, and how a transport's words become ours."""

from __future__ import annotations

import logging
import ssl
from functools import lru_cache
from typing import Any, ClassVar

import httpx

from airflow_provider_segmind import __version__
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError
from airflow_provider_segmind.protocol.calls import Call
from airflow_provider_segmind.protocol.hosts import is_loopback
from airflow_provider_segmind.protocol.settings import ConnectionSettings
from airflow_provider_segmind.protocol.urls import origin

USER_AGENT = f"airflow-provider-segmind/{__version__}"
HEADERS = {"user-agent": USER_AGENT, "accept": "application/json, */*;q=0.5"}
#: The request certainly did not reach the gateway.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.ProxyError,
)


class Redaction(logging.Filter):
    """httpcore tells every header of an answer at DEBUG, and a gateway may repeat the key in one."""

    keys: ClassVar[set[str]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the keys in a record, and let it pass."""
        text = record.getMessage()
        if any(key in text for key in self.keys):
            for key in self.keys:
                text = text.replace(key, "***")
            record.msg, record.args = text, None
        return True


logging.getLogger("httpcore.http11").addFilter(Redaction())


@lru_cache(maxsize=8)
def ssl_context(verify: bool | str) -> ssl.SSLContext:
    """Return the TLS context of a ``verify`` setting; building one costs 25 ms of CPU, so it is shared."""
    if isinstance(verify, str):
        try:
            return ssl.create_default_context(cafile=verify)
        except OSError as error:
            raise SegmindConfigError(f"verify: {verify} cannot be read as a CA file: {error}") from None
    return httpx.create_ssl_context(verify=verify)


def client_options(settings: ConnectionSettings, *, connections: int) -> dict[str, Any]:
    """Return the options of an HTTP client for the connection's own hosts."""
    return {
        "timeout": timeout(settings),
        "verify": ssl_context(settings.verify),
        "proxy": settings.proxy,
        "limits": httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        "follow_redirects": False,
        "trust_env": trusts_env(settings),
        "headers": HEADERS,
    }


def trusts_env(settings: ConnectionSettings) -> bool:
    """Tell whether the environment's proxies hold: there is none between us and ourselves."""
    return not is_loopback(origin(settings.gateway)[1])


def timeout(settings: ConnectionSettings) -> httpx.Timeout:
    """Return the time-outs of one request."""
    return httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout)


def unresponded(call: Call[Any], error: Exception, settings: ConnectionSettings) -> SegmindError:
    """Return our error for a call that got no response. Only httpx's errors show that nothing was sent."""
    sent = not isinstance(error, (*_NOT_SENT, httpx.InvalidURL))
    return call.unresponded(reason(error), address=settings.base_url(call.service), sent=sent)


def reason(error: Exception) -> str:
    """Return a transport's error in words."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
