"""Whether two paths, or a URL and a path, name the same object, whatever their spelling."""

from __future__ import annotations

import os
import re
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from airflow_provider_segmind.protocol.urls import canonical_scheme, is_url, origin
from airflow_provider_segmind.storage.names import folded
from airflow_provider_segmind.storage.paths import probed, uncached_fs

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

#: Scheme -> hosts of the store's own service; a bucket's own host has its name before.
_HOSTS = {
    "s3": re.compile(r"s3[a-z0-9.-]*\.amazonaws\.com(\.cn)?"),
    "gs": re.compile(r"(commondata)?storage\.(googleapis|cloud\.google)\.com"),
}
_GCS_API = re.compile(r"(?:download/)?storage/v1/b/([^/]+)/o/([^/]+)")
_LOOPBACK = ("127.0.0.1", "::1")


class Identity(NamedTuple):
    """
    What makes an object the same one, whatever its connection is called.

    :param scheme: canonical.
    :param endpoint: host and port of the store; empty for the service of AWS or Google, and if it is missing.
    :param name: its path; of a local file without links.
    """

    scheme: str
    endpoint: str
    name: str


def identity(path: ObjectStoragePath) -> Identity:
    """Return what makes an object the same one."""
    scheme = canonical_scheme(path.protocol)
    return Identity(scheme, _endpoint(scheme, path.fs), os.path.realpath(path.path) if scheme == "file" else path.path)


def is_same(one: ObjectStoragePath, other: ObjectStoragePath) -> bool:
    """
    Return whether two paths name the same object.

    Where they differ only in case or in the Unicode form, a few bytes are written to find out what the store does.

    :raises SegmindConfigError: the store must not be written.
    :raises SegmindStorageError: the store could not be checked; a retry may succeed.
    """
    mine, its = identity(one), identity(other)
    if mine == its:
        return True
    if mine[:2] != its[:2]:
        return False
    if mine.scheme == "file":
        with suppress(OSError):  # one of them does not exist
            if Path(one.path).samefile(other.path):
                return True
    return folded(mine.name) == folded(its.name) and _spelled(one, mine.name) == _spelled(one, its.name)


def _spelled(path: ObjectStoragePath, name: str) -> str:
    """Return a name in the form by which the store of a path distinguishes names."""
    with probed(path.parent / "\u00e9") as written:
        folds_case = _exists(written.with_name(written.name.replace(".probe", ".PROBE")))
        folds_form = _exists(written.with_name(unicodedata.normalize("NFD", written.name)))
    name = unicodedata.normalize("NFC", name) if folds_form else name
    return name.casefold() if folds_case else name


def _exists(path: ObjectStoragePath) -> bool:
    try:
        uncached_fs(path).info(path.path)  # not exists(): it returns False when the store is down
    except FileNotFoundError:
        return False
    return True


def name_in_bucket(url: str, path: ObjectStoragePath) -> str | None:
    """
    Return ``bucket/key`` of the object that a URL names, in the store of a path; None if it is not one of them.

    :param url: of the bucket's own host, or with the bucket as its first folder; signed or not.
    :param path: an object or a folder in S3 or GCS.
    """
    scheme = canonical_scheme(path.protocol)
    if scheme not in _HOSTS or not is_url(url):
        return None
    bucket, endpoint = path.path.partition("/")[0], _endpoint(scheme, path.fs)
    host, name = _host(url), unquote(urlsplit(url).path.removeprefix("/"))
    if _is_service(scheme, host, endpoint):
        if found := _GCS_API.fullmatch(urlsplit(url).path.removeprefix("/")):
            name = f"{found[1]}/{unquote(found[2])}"
        return name
    own = host.removeprefix(f"{bucket}.")
    return f"{bucket}/{name}" if own != host and _is_service(scheme, own, endpoint) else None


def _is_service(scheme: str, host: str, endpoint: str) -> bool:
    return host == endpoint if endpoint else bool(_HOSTS[scheme].fullmatch(host.partition(":")[0]))


def _endpoint(scheme: str, fs: Any) -> str:
    url = getattr(fs, "endpoint_url", None) or (getattr(fs, "client_kwargs", None) or {}).get("endpoint_url")
    host = _host(str(url or ""))
    return "" if scheme in _HOSTS and _HOSTS[scheme].fullmatch(host.partition(":")[0]) else host


def _host(url: str) -> str:
    """Return host and port of a URL; '' if it is not one."""
    if not is_url(url):
        return ""
    _, host, port = origin(url)
    return f"{'localhost' if host in _LOOPBACK else host}:{port}"
