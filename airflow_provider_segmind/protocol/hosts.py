"""
The hosts that a worker may download from: rules that keep a wrong response from making it read a private network.

Pure: the caller resolves names. Every hop of a redirect is checked again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from airflow_provider_segmind.exceptions import SegmindForbiddenHostError

if TYPE_CHECKING:
    from airflow_provider_segmind.protocol.settings import ConnectionSettings

MAX_REDIRECTS = 5
#: The one IPv6 range from which public addresses are assigned.
_IPV6_GLOBAL = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by its name or address alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """Return whether an IP address is on the public internet. An IPv4 address inside an IPv6 one counts itself."""
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


def _embedded(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address inside an IPv6 address (mapped, 6to4, Teredo, NAT64, ISATAP), if there is one."""
    isatap = (int(ip) >> 32) & 0xFDFFFFFF == 0x5EFE
    if ip in _NAT64 or isatap:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


def check_name(url: str, settings: ConnectionSettings) -> bool:
    """
    Check an output's URL by its host name.

    :return: True if the host is trusted as it is (the gateway's own, or named in ``output_hosts``); False if its
        addresses must be public, see :func:`check_addresses`.
    :raises SegmindForbiddenHostError: outputs may not come from this URL.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".").lower()
        own = settings.is_own(url)
    except ValueError:
        raise SegmindForbiddenHostError(f"{url!r:.200} is not a URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise SegmindForbiddenHostError(f"{url!r:.200} is not an http(s) URL")
    if own:
        return True
    if parts.scheme != "https" and not (settings.allow_http and settings.names_host(host)):
        raise SegmindForbiddenHostError(f"the output at {host} has an http:// URL, not https://")
    if not settings.allows_output_host(host):
        raise SegmindForbiddenHostError(f"{host} matches none of the connection's output_hosts")
    if settings.names_host(host):
        return True
    if _is_address(host) and not is_public(host):
        raise SegmindForbiddenHostError(f"{host} is not a public address")
    if is_loopback(host) or (not _is_address(host) and not host.rpartition(".")[2].strip("0123456789")):
        raise SegmindForbiddenHostError(f"{host} is not a public name")  # also 127.1 and 2130706433
    return False


def check_addresses(host: str, addresses: Sequence[str]) -> str:
    """
    Return the address to connect to, if all addresses of a name are public.

    The caller connects to this very address, so a name that resolves differently a moment later changes nothing.
    """
    if not addresses:
        raise SegmindForbiddenHostError(f"{host} has no address")
    for address in addresses:
        if not is_public(address):
            raise SegmindForbiddenHostError(f"{host} resolves to {address}, which is not a public address")
    return addresses[0]


def next_hop(url: str, location: str | None) -> str:
    """Return the URL that a redirect leads to."""
    host = urlsplit(url).hostname
    if not location:
        raise SegmindForbiddenHostError(f"{host} redirects without naming an address")
    try:
        return urljoin(url, location)
    except ValueError:
        raise SegmindForbiddenHostError(f"{host} redirects to {location!r:.200}, which is not a URL") from None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
