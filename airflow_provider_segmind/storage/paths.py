"""Object paths: turn a URI into a path, and report every mistake in it before anything is billed."""

from __future__ import annotations

import functools
import os
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.compat import attach_filesystem, connection_of
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindOutputError, SegmindStorageError
from airflow_provider_segmind.protocol.urls import canonical_scheme
from airflow_provider_segmind.storage.limits import MAX_KEY, MAX_NAME
from airflow_provider_segmind.storage.names import cut

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

#: Next step of an error of the storage before anything was submitted.
NOT_SENT = "Nothing was submitted. Check the storage and its connection."
#: Scheme -> extra of this package that installs its provider.
_EXTRAS = {"s3": "s3", "gs": "gcs"}
#: Errors of a storage that a retry does not change, besides FileNotFoundError.
_REFUSALS = (NotADirectoryError, IsADirectoryError, PermissionError)
_LINE_BREAKS = re.compile(r"[\t\r\n]")
_CHECK_PATH = "Nothing was submitted and nothing was billed. Check the path, and that every worker may use it."


def object_path(uri: str, conn_id: str | None) -> ObjectStoragePath:
    """
    Return the path of a URI.

    Called before anything is billed, so that a wrong URI costs nothing. ``memory://`` lasts as long as the process, for
    tests.

    :param uri: of an object or a folder.
    :param conn_id: Airflow connection of the storage; None for the one in the URI, if any.
    :raises SegmindConfigError: it is not a URI, no installed provider has its scheme, or the connection is missing.
    """
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    if not isinstance(uri, str) or "://" not in uri:
        raise SegmindConfigError(f"{uri!r:.200} is not a URI such as s3://bucket/folder/ or file:///data/out.png")
    scheme, _, rest = uri.partition("://")
    if not rest.strip("/ "):
        raise SegmindConfigError(f"{uri!r:.200} has neither a bucket nor a path")
    if "::" in rest.partition("/")[2] or _LINE_BREAKS.search(rest):  # the library would use a part of the name
        raise SegmindConfigError(
            f"{uri!r:.200} cannot be used: its name has a '::', a tab or a line break", next_step="Rename the object."
        )
    if conn_id is None and scheme in ("file", "memory"):
        _attach(scheme)
    try:
        path = _path_of(uri, conn_id)
        if (found := connection_of(path)) is not None:
            _check_connection(found)
        path.fs  # noqa: B018  resolves the filesystem: an error if no provider has it
    except AirflowNotFoundException as error:
        raise SegmindConfigError(f"{uri!r:.200}: {error}", next_step="Add the connection of the storage.") from error
    except (ValueError, ImportError, NotImplementedError) as error:
        extra = _EXTRAS.get(canonical_scheme(scheme))
        hint = f'pip install "airflow-provider-segmind[{extra}]"' if extra else "install the provider for this scheme"
        raise SegmindConfigError(f"{scheme}:// cannot be used here: {error}", next_step=f"Try: {hint}") from error
    return path


def _path_of(uri: str, conn_id: str | None) -> ObjectStoragePath:
    """Return the path of a URI; the library drops a ``?`` or ``#`` at its end, but not from a name that is appended."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    # Before Airflow 3.3 conn_id=None replaces the connection in the URI.
    chosen = {} if conn_id is None else {"conn_id": conn_id}
    folder, _, name = uri.rpartition("/")
    if name.endswith(("?", "#")):
        return ObjectStoragePath(f"{folder}/", **chosen) / name
    return ObjectStoragePath(uri, **chosen)


@functools.cache
def _check_connection(conn_id: str) -> None:
    """Raise AirflowNotFoundException if it is missing: the amazon provider would use the machine's own credentials."""
    from airflow.providers.common.compat.sdk import BaseHook

    BaseHook.get_connection(conn_id)


def _attach(scheme: str) -> None:
    """
    Attach a filesystem that needs no provider.

    For ``file://`` Airflow would import the filesystems of all installed providers: with the amazon provider this takes
    0.1 s of CPU in each task (docs/performance.md).
    """
    from fsspec import filesystem

    attach_filesystem(scheme, filesystem(scheme))


@contextmanager
def storage_errors(path: ObjectStoragePath) -> Iterator[None]:
    """Raise any error of the filesystem's library as SegmindStorageError that names the path."""
    try:
        yield
    except (SegmindOutputError, SegmindStorageError):
        raise
    except Exception as error:
        raise SegmindStorageError(f"{path}: {type(error).__name__}: {error}") from error


@contextmanager
def refused_early(what: str, path: ObjectStoragePath) -> Iterator[None]:
    """
    Convert errors of a store before anything is submitted.

    :param what: what the path is of, for the message: ``input``, ``destination``, …
    :param path: the path.
    :raises SegmindConfigError: the object is missing or access is denied: a retry does not help.
    :raises SegmindStorageError: any other error: a retry may succeed.
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


def room_in(folder: ObjectStoragePath) -> int | None:
    """Return how many bytes the name of an object in a folder may have; None if the store has no known limit."""
    scheme = canonical_scheme(folder.protocol)
    if scheme in ("s3", "gs"):
        key = folder.path.partition("/")[2].rstrip("/")
        return MAX_KEY - (size_of(key) + 1 if key else 0)
    return _room_on_this_machine(folder.path) if scheme == "file" else None


def size_of(name: str) -> int:
    """Return the size of a name in bytes, which is what stores limit."""
    return len(name.encode(errors="surrogateescape"))


def _room_on_this_machine(folder: str) -> int:
    for there in (folder, *map(str, Path(folder).parents)):
        with suppress(OSError, ValueError):  # it does not exist yet, or its filesystem does not report it
            name, path = os.pathconf(there, "PC_NAME_MAX"), os.pathconf(there, "PC_PATH_MAX")
            return min(name, path - size_of(folder) - 2)
    return MAX_NAME


def temporary(path: ObjectStoragePath, extension: str) -> ObjectStoragePath:
    """Return the path of a hidden temporary object in the same folder, with a random name that is not too long."""
    folder, mark = path.parent, f".{uuid.uuid4().hex[:12]}.{extension}"
    room = room_in(folder)
    return folder / f".{path.name if room is None else cut(path.name, room - len(mark) - 1)}{mark}"


def uncached_fs(path: ObjectStoragePath) -> Any:
    """Return the filesystem of a path without its cached listing of the folder: another task may have written."""
    fs = path.fs
    fs.invalidate_cache(path.parent.path)
    return fs


def probe(path: ObjectStoragePath) -> None:
    """
    Write a few bytes beside a target and delete them, to check that the destination can be written.

    If the folder is missing, the nearest existing folder above it is checked: no folder is created.

    :param path: the target.
    :raises SegmindConfigError: the destination is missing or must not be written.
    :raises SegmindStorageError: the store could not be checked; a retry may succeed.
    """
    local = Path(path.path)
    if _has_folders(path) and local.exists() and not (local.is_file() or local.is_dir()):
        raise SegmindConfigError(f"destination {path} is a device or a pipe, which is not replaced")
    with probed(path):
        pass


@contextmanager
def probed(path: ObjectStoragePath) -> Iterator[ObjectStoragePath]:
    """Write what :func:`probe` writes, yield its path, and delete it."""
    with refused_early("destination", path):
        fs, folder = path.fs, path.parent
        while _has_folders(folder) and folder.parent != folder and not fs.exists(folder.path):
            folder = folder.parent
        written = temporary(folder / path.name, "probe")
        try:
            with fs.open(written.path, "wb") as out:  # path.open() would report it as lineage
                out.write(b"airflow-provider-segmind")
            yield written
        finally:
            with suppress(FileNotFoundError, NotADirectoryError):
                fs.rm_file(written.path)


def _has_folders(path: ObjectStoragePath) -> bool:
    """Return whether folders have to be created before an object is written; object stores have no folders."""
    return canonical_scheme(path.protocol) == "file"
