"""
From where a worker may download: the rules that keep a wrong answer from making it read a private network.

Pure: names are resolved by the caller, and every hop of a redirect is judged anew.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urljoin, urlsplit

from airflow_provider_segmind.exceptions import SegmindForbiddenHostError
from airflow_provider_segmind.protocol.settings import ConnectionSettings, is_loopback, is_public

MAX_REDIRECTS = 5


def check_name(url: str, settings: ConnectionSettings) -> bool:
    """
    Judge an output's address by its name.

    :return: True where the host is trusted as it is (the gateway's own, or named in ``output_hosts``); False
        where its addresses must be public, see :func:`check_addresses`.
    :raises SegmindForbiddenHostError: the address is not one from which outputs may come.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".").lower()
        own = settings.is_own(url)
    except ValueError:
        raise SegmindForbiddenHostError(f"{url!r:.200} is no URL") from None
    if parts.scheme not in ("http", "https") or not host:
        raise SegmindForbiddenHostError(f"{url!r:.200} is no http(s) URL")
    if own:
        return True
    if parts.scheme != "https" and not (settings.allow_http and settings.vouches_for(host)):
        raise SegmindForbiddenHostError(f"{host} is offered over plain http")
    if not settings.allows_output_host(host):
        raise SegmindForbiddenHostError(f"{host} matches none of the connection's output_hosts")
    if settings.vouches_for(host):
        return True
    if _is_address(host) and not is_public(host):
        raise SegmindForbiddenHostError(f"{host} is not a public address")
    if is_loopback(host) or (not _is_address(host) and not host.rpartition(".")[2].strip("0123456789")):
        raise SegmindForbiddenHostError(f"{host} is not a public name")  # also 127.1 and 2130706433
    return False


def check_addresses(host: str, addresses: Sequence[str]) -> str:
    """
    Return the address to connect to, if all that the name resolves to are public.

    The caller connects to this very address: a name that resolves differently a moment later gains nothing.
    """
    if not addresses:
        raise SegmindForbiddenHostError(f"{host} has no address")
    for address in addresses:
        if not is_public(address):
            raise SegmindForbiddenHostError(f"{host} leads to {address}, which is not a public address")
    return addresses[0]


def next_hop(url: str, location: str | None) -> str:
    """Return where a redirect leads."""
    if not location:
        raise SegmindForbiddenHostError(f"{urlsplit(url).hostname} redirects to nowhere")
    try:
        return urljoin(url, location)
    except ValueError:
        raise SegmindForbiddenHostError(f"it redirects to {location!r:.200}, which is no URL") from None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
