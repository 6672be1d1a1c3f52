"""
What a connection means: which hosts, which key, which limits. Pure; where it comes from is the hook's matter.
"""

from __future__ import annotations

import ipaddress
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

GATEWAY = "https://api.segmind.com"
UPLOAD = "https://workflows-api.segmind.com"
HISTORY = "https://api.spotprod.segmind.com"
OUTPUTS = "https://images.segmind.com"


def is_loopback(host: str) -> bool:
    """Tell whether the host is this machine by its very name."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """Tell whether the IP address belongs to the public internet, also when it hides in an IPv6 form."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = _embedded(ip)
        if embedded is not None:
            return is_public(str(embedded))
        if ip not in _IPV6_GLOBAL:
            return False
    return ip.is_global and not ip.is_multicast


#: The one IPv6 range from which public addresses are given out.
_IPV6_GLOBAL = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _embedded(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for (mapped, 6to4, Teredo, NAT64, ISATAP), if any."""
    isatap = (int(ip) >> 32) & 0xFDFFFFFF == 0x5EFE
    if ip in _NAT64 or isatap:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL."""
    parts = urlsplit(url)
    return (
        parts.scheme,
        (parts.hostname or "").rstrip("."),
        parts.port or (443 if parts.scheme == "https" else 80),
    )


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
    One connection to Segmind, checked.

    :param api_key: the key; it never shows in a repr or a log.
    :param gateway: where models run.
    :param upload_url: where inputs are uploaded; default: the vendor's host, or the gateway if that is another.
    :param history_url: where requests are listed; default likewise.
    :param connect_timeout: seconds to reach a host.
    :param read_timeout: seconds between two pieces of an answer.
    :param verify: check TLS certificates (true), don't (false), or check them with this CA file.
    :param proxy: proxy for everything.
    :param output_hosts: patterns of hosts from which outputs may come; default: any public https host.
    :param allow_http: send the key over plain http to other machines too.
    :param polls_per_minute: how many looks at requests all waits of a triggerer share; in a task that waits itself
        it is the task's own. Default: as many as the schedule asks for.
    :param poll_error_timeout: seconds for which polls of a submitted request may be refused (400, 401, 403, 404, …: a
        deploy, a firewall, a proxy) before the wait ends with that error (default 60). What a 5xx, a 429 or a broken
        connection says of a poll is tolerated until the task's own time-out.
    :param min_remaining_credits: submit nothing while the balance is below this (credits); default: no check.
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
        """The host of outputs whose URL in the history is a path only."""
        return OUTPUTS if origin(self.gateway) == origin(GATEWAY) else self.gateway

    def is_own(self, url: str) -> bool:
        """Tell whether the URL points to the connection's own gateway."""
        return origin(url) == origin(self.gateway)

    def vouches_for(self, host: str) -> bool:
        """Tell whether ``output_hosts`` names this very host: then even a private address is meant."""
        return host in self.output_hosts and "*" not in host

    def allows_output_host(self, host: str) -> bool:
        """Tell whether an output may come from this host, as far as its name goes."""
        return not self.output_hosts or any(fnmatchcase(host, pattern) for pattern in self.output_hosts)


#: Names that a connection's extra may hold.
EXTRAS = frozenset(ConnectionSettings.model_fields) - {"api_key", "gateway"}


def connection_settings(values: Mapping[str, Any], *, where: str) -> ConnectionSettings:
    """
    Check a connection's values.

    :param values: fields of :class:`ConnectionSettings`.
    :param where: how to name the connection in an error.
    :raises SegmindConfigError: naming each wrong value, never the key.
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
    """Return what an Airflow connection says, by the names of our settings."""
    host = (conn.host or "").strip()
    if host and conn.port:
        host = f"{host.rstrip('/')}:{conn.port}"
    return {**extra, "api_key": conn.password, "gateway": host or None}
