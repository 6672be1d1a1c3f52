"""
The settings of a connection: hosts, key, limits. Pure: the hook reads the connection itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.protocol.calls import Service
from airflow_provider_segmind.protocol.hosts import is_loopback
from airflow_provider_segmind.protocol.urls import origin

GATEWAY = "https://api.segmind.com"
UPLOAD = "https://workflows-api.segmind.com"
HISTORY = "https://api.spotprod.segmind.com"
OUTPUTS = "https://images.segmind.com"


def _base_url(value: Any) -> Any:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be an address such as https://api.segmind.com")
    text = value.strip().rstrip("/")
    if "://" not in text:
        text = f"https://{text}"
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http(s) address such as https://api.segmind.com")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must be a plain address: no user, no query")
    return text


def _flag(value: Any) -> Any:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    return True if value == "" else value


def _patterns(value: Any) -> Any:
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, list | tuple):
        return tuple(item.strip().lower() for item in value if isinstance(item, str) and item.strip())
    return value


BaseUrl = Annotated[str, BeforeValidator(_base_url)]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class ConnectionSettings(BaseModel):
    """
    One validated connection to Segmind.

    :param api_key: the API key; no repr and no log contains it.
    :param gateway: address of the API (default ``https://api.segmind.com``).
    :param upload_url: address of the upload API (default: the vendor's, or the gateway if that is not the vendor's).
    :param history_url: address of the request history (default likewise).
    :param connect_timeout: seconds to connect to a host (default 10).
    :param read_timeout: seconds between two parts of a response (default 60).
    :param verify: verify TLS certificates (true, the default), do not (false), or verify them with this CA file.
    :param proxy: HTTP proxy for all calls (default: the proxy of the environment).
    :param output_hosts: patterns of the hosts that outputs may come from (default: any public https host).
    :param allow_http: send the key over plain http to other machines as well (default false).
    :param polls_per_minute: polls per minute that all waits of a triggerer share; a task that waits itself has this
        number for itself (default: no limit beyond the poll schedule).
    :param poll_error_timeout: seconds for which polls of a submitted request may be refused (400, 401, 403, 404, …: a
        deploy, a firewall, a proxy) before the wait ends with that error (default 60). A 5xx, a 429 or a broken
        connection is tolerated until the task's own timeout.
    :param min_remaining_credits: submit nothing while the balance is below this many credits (default: no check).
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    api_key: SecretStr
    gateway: BaseUrl = GATEWAY
    upload_url: BaseUrl = ""
    history_url: BaseUrl = ""
    connect_timeout: Seconds = 10.0
    read_timeout: Seconds = 60.0
    verify: Annotated[bool | str, BeforeValidator(_flag)] = True
    proxy: str | None = None
    output_hosts: Annotated[tuple[str, ...], BeforeValidator(_patterns)] = ()
    allow_http: Annotated[bool, BeforeValidator(_flag)] = False
    polls_per_minute: Annotated[float, Field(gt=0, le=60_000, allow_inf_nan=False)] | None = None
    min_remaining_credits: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    poll_error_timeout: Annotated[float, Field(ge=0, le=3600)] = 60.0

    @model_validator(mode="before")
    @classmethod
    def _default_hosts(cls, data: dict[str, Any]) -> dict[str, Any]:
        found = {name: value for name, value in data.items() if value not in (None, "")}
        gateway = _base_url(found.setdefault("gateway", GATEWAY))
        vendor = origin(gateway) == origin(GATEWAY)
        found.setdefault("upload_url", UPLOAD if vendor else gateway)
        found.setdefault("history_url", HISTORY if vendor else gateway)
        return found

    @field_validator("connect_timeout", "read_timeout")
    @classmethod
    def _finite(cls, value: float) -> float:
        if not math.isfinite(value):
            raise ValueError("must be a finite number of seconds")
        return value

    @field_validator("api_key")
    @classmethod
    def _usable_key(cls, value: SecretStr) -> SecretStr:
        key = value.get_secret_value().strip()
        if not key or not key.isascii() or not key.isprintable():
            raise ValueError("must be the API key as Segmind shows it")
        return SecretStr(key)

    @field_validator("proxy")
    @classmethod
    def _usable_proxy(cls, value: str | None) -> str | None:
        parts = urlsplit(value or "")
        if value is not None and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise ValueError("must be the address of an HTTP proxy, such as http://proxy:3128")
        return value

    @model_validator(mode="after")
    def _no_key_in_the_clear(self) -> ConnectionSettings:
        for name in ("gateway", "upload_url", "history_url"):
            scheme, host, _ = origin(getattr(self, name))
            if scheme == "http" and not is_loopback(host) and not self.allow_http:
                raise ValueError(
                    f"{name}: http:// sends the key in the clear; use https://, or set the extra allow_http to true"
                )
        return self

    def base_url(self, service: Service) -> str:
        """Return the address of one of the three services."""
        if service is Service.GATEWAY:
            return self.gateway
        return self.upload_url if service is Service.UPLOAD else self.history_url

    @property
    def outputs_url(self) -> str:
        """The host of the outputs whose URL in the history is only a path."""
        return OUTPUTS if origin(self.gateway) == origin(GATEWAY) else self.gateway

    def is_own(self, url: str) -> bool:
        """Return whether a URL is at the connection's own gateway."""
        return origin(url) == origin(self.gateway)

    def names_host(self, host: str) -> bool:
        """Return whether ``output_hosts`` names exactly this host: then it may be a private address."""
        return host in self.output_hosts and "*" not in host

    def allows_output_host(self, host: str) -> bool:
        """Return whether ``output_hosts`` allows an output from this host, by its name alone."""
        return not self.output_hosts or any(fnmatchcase(host, pattern) for pattern in self.output_hosts)


#: Names that the connection's extra may contain.
EXTRAS = frozenset(ConnectionSettings.model_fields) - {"api_key", "gateway"}


def connection_settings(values: Mapping[str, Any], *, where: str) -> ConnectionSettings:
    """
    Validate the values of a connection.

    :param values: fields of :class:`ConnectionSettings`.
    :param where: the connection's name in an error.
    :raises SegmindConfigError: it names each wrong value, never the key.
    """
    try:
        return ConnectionSettings.model_validate(dict(values))
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, f['loc'])) or 'connection'}: {f['msg'].removeprefix('Value error, ')}"
            for f in error.errors(include_url=False, include_input=False)
        ]
        raise SegmindConfigError(f"{where}: {'; '.join(faults)}", next_step="Correct the connection.") from None


def values_of(conn: Any, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of an Airflow connection by the names of our settings."""
    host = (conn.host or "").strip()
    if host and conn.port:
        host = f"{host.rstrip('/')}:{conn.port}"
    return {**extra, "api_key": conn.password, "gateway": host or None}
