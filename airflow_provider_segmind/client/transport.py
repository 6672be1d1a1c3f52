"""What all HTTP clients share: TLS, timeouts, limits, and the conversion of transport errors."""

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
#: Errors after which the gateway has certainly not received the request.
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    httpx.ProxyError,
)


class Redaction(logging.Filter):
    """Redact the keys in httpcore's log: at DEBUG it logs every response header, and a gateway may echo the key."""

    keys: ClassVar[set[str]] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the keys in a record and return True, so that it is logged."""
        text = record.getMessage()
        if any(key in text for key in self.keys):
            for key in self.keys:
                text = text.replace(key, "***")
            record.msg, record.args = text, None
        return True


logging.getLogger("httpcore.http11").addFilter(Redaction())


@lru_cache(maxsize=8)
def ssl_context(verify: bool | str) -> ssl.SSLContext:
    """Return the TLS context of a ``verify`` setting. It is cached, because creating one takes 25 ms of CPU."""
    if isinstance(verify, str):
        try:
            return ssl.create_default_context(cafile=verify)
        except OSError as error:
            raise SegmindConfigError(f"verify: {verify} cannot be read as a CA file: {error}") from None
    return httpx.create_ssl_context(verify=verify)


def client_options(settings: ConnectionSettings, *, connections: int) -> dict[str, Any]:
    """
    Return the options of an httpx client for the connection's own hosts.

    :param settings: the validated connection.
    :param connections: maximum number of TCP connections.
    """
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
    """Return whether the proxies of the environment are used: not for a gateway on this machine."""
    return not is_loopback(origin(settings.gateway)[1])


def timeout(settings: ConnectionSettings) -> httpx.Timeout:
    """Return the timeouts of one HTTP request."""
    return httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout)


def unresponded(call: Call[Any], error: Exception, settings: ConnectionSettings) -> SegmindError:
    """Return our error for a call that got no response. Only httpx's errors show that nothing was sent."""
    sent = not isinstance(error, (*_NOT_SENT, httpx.InvalidURL))
    return call.unresponded(reason(error), address=settings.base_url(call.service), sent=sent)


def reason(error: Exception) -> str:
    """Return a transport error as text."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
