"""From a URI to a path that can be used, with every mistake said before it costs anything."""

from __future__ import annotations

import functools
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.compat import attach_filesystem, connection_of
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindOutputError, SegmindStorageError
from airflow_provider_segmind.protocol.urls import canonical_scheme

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

#: Said of what goes wrong in a store before anything was submitted.
NOT_SENT = "Nothing was sent yet; check the storage and its connection."
#: Scheme -> extra of this package that installs its provider.
_EXTRAS = {"s3": "s3", "gs": "gcs"}
#: Errors of a storage that a retry does not change, besides FileNotFoundError.
_REFUSALS = (NotADirectoryError, IsADirectoryError, PermissionError)
_CHECK_PATH = "Nothing was sent and nothing was billed. Check the path, and that every worker may use it."


def object_path(uri: str, conn_id: str | None) -> ObjectStoragePath:
    """
    Return the path that a URI names; called before anything is billed, so that a bad one costs nothing.

    ``memory://`` is known, too: it lives as long as the process, so it is for tests.

    :raises SegmindConfigError: it is no URI, no installed provider knows its scheme, or there is no such connection.
    """
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, ObjectStoragePath

    if not isinstance(uri, str) or "://" not in uri:
        raise SegmindConfigError(f"{uri!r:.200} is no URI such as s3://bucket/folder/ or file:///data/out.png")
    scheme, _, rest = uri.partition("://")
    if not rest.strip("/ "):
        raise SegmindConfigError(f"{uri!r:.200} names nothing: a bucket or a path is missing")
    if conn_id is None and scheme in ("file", "memory"):
        _attach(scheme)
    try:
        # Before Airflow 3.3 a conn_id of None takes the place of the one that stands in the URI.
        path = ObjectStoragePath(uri, conn_id=conn_id) if conn_id is not None else ObjectStoragePath(uri)
        if (found := connection_of(path)) is not None:
            _check_connection(found)
        path.fs  # noqa: B018  resolves the filesystem, and with it the provider that brings it
    except AirflowNotFoundException as error:
        raise SegmindConfigError(f"{uri!r:.200}: {error}", next_step="Add the connection of the storage.") from error
    except (ValueError, ImportError, NotImplementedError) as error:
        extra = _EXTRAS.get(canonical_scheme(scheme))
        hint = f'pip install "airflow-provider-segmind[{extra}]"' if extra else "install the provider for this scheme"
        raise SegmindConfigError(f"{scheme}:// cannot be used here: {error}", next_step=f"Try: {hint}") from error
    return path


@functools.cache
def _check_connection(conn_id: str) -> None:
    """Raise for one that is not there: the amazon provider would take the machine's own key instead."""
    from airflow.providers.common.compat.sdk import BaseHook

    BaseHook.get_connection(conn_id)


def _attach(scheme: str) -> None:
    """
    Attach a filesystem that needs no provider.

    For ``file://`` Airflow would look for one through the filesystems of all installed providers: with the amazon
    provider that is 0.1 s of CPU in each task (docs/performance.md).
    """
    from fsspec import filesystem

    attach_filesystem(scheme, filesystem(scheme))


@contextmanager
def storage_errors(path: ObjectStoragePath) -> Iterator[None]:
    """Name the destination in whatever the filesystem's library raises; each library has classes of its own."""
    try:
        yield
    except (SegmindOutputError, SegmindStorageError):
        raise
    except Exception as error:
        raise SegmindStorageError(f"{path}: {type(error).__name__}: {error}") from error


@contextmanager
def refused_early(what: str, path: ObjectStoragePath) -> Iterator[None]:
    """
    Sort what a store raises before anything is submitted.

    :raises SegmindConfigError: it is not there, or not allowed: trying again would not help.
    :raises SegmindStorageError: anything else may pass.
    """
    try:
        yield
    except (SegmindConfigError, SegmindStorageError):
        raise
    except FileNotFoundError as error:
        raise SegmindConfigError(f"{what} {path}{_host_of(path)}: {_missing(what)}", next_step=_CHECK_PATH) from error
    except _REFUSALS as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise SegmindConfigError(f"{what} {path}{_host_of(path)}: {reason}", next_step=_CHECK_PATH) from error
    except Exception as error:
        raise SegmindStorageError(f"{what} {path}: {type(error).__name__}: {error}", next_step=NOT_SENT) from error


def _missing(what: str) -> str:
    return "its folder or bucket does not exist" if what == "destination" else "it does not exist"


def _host_of(path: ObjectStoragePath) -> str:
    """Return the name of this machine for a message about a local path: another worker may have other files."""
    return f" on host {socket.gethostname()}" if canonical_scheme(path.protocol) == "file" else ""


def is_same(one: ObjectStoragePath, other: ObjectStoragePath) -> bool:
    """Return whether two paths name the same object, whatever their connections are called."""
    return _identity(one) == _identity(other)


def _identity(path: ObjectStoragePath) -> tuple[str, str, str]:
    scheme = canonical_scheme(path.protocol)
    host = str(
        getattr(path.fs, "endpoint_url", None) or (getattr(path.fs, "client_kwargs", None) or {}).get("endpoint_url")
    )
    return scheme, host, os.path.realpath(path.path) if scheme == "file" else path.path


def temporary(path: ObjectStoragePath, extension: str) -> ObjectStoragePath:
    """Return a path beside this one that nobody else uses, hidden from whoever lists by name."""
    return path.parent / f".{path.name}.{uuid.uuid4().hex[:12]}.{extension}"


def fresh(path: ObjectStoragePath) -> Any:
    """Return the path's filesystem with nothing remembered of the folder: another task may have written meanwhile."""
    fs = path.fs
    fs.invalidate_cache(path.parent.path)
    return fs


def probe(path: ObjectStoragePath) -> None:
    """
    Write a few bytes beside an object that is to be, and delete them again.

    Where its folder is not there yet, the nearest folder above that is is asked: no folder is made.

    :raises SegmindConfigError: the place is not there, or may not be written.
    :raises SegmindStorageError: the store could not be asked this time.
    """
    with refused_early("destination", path):
        fs, folder = path.fs, path.parent
        while _has_folders(folder) and folder.parent != folder and not fs.exists(folder.path):
            folder = folder.parent
        there = temporary(folder / path.name, "probe")
        try:
            with fs.open(there.path, "wb") as out:  # not the path's own open, which reports a lineage of it
                out.write(b"airflow-provider-segmind")
        finally:
            with suppress(FileNotFoundError, NotADirectoryError):
                fs.rm_file(there.path)


def _has_folders(path: ObjectStoragePath) -> bool:
    """Tell whether folders have to be made before something lies in them; in a bucket they need not."""
    return path.protocol in ("file", "local")
