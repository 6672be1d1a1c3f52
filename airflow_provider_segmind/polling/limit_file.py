"""
The rate limit of a connection, shared between the processes of one machine by a file in the temporary folder.

Without it each of a thousand mapped tasks would have to be refused once to learn that the rate limit is exceeded.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from pathlib import Path

#: Seconds; a file that states a later reset is ignored.
_MAX_WAIT = 3600.0


def _path(gateway: str, segmind_conn_id: str | None) -> Path:
    name = hashlib.sha256(f"{gateway} {segmind_conn_id}".encode()).hexdigest()[:24]
    return Path(tempfile.gettempdir()) / f"segmind-limit-{os.getuid()}-{name}"


def write_limit(gateway: str, segmind_conn_id: str | None, until: float) -> None:
    """
    Report a rate limit to the other processes of this machine.

    :param gateway: URL of the connection's gateway.
    :param segmind_conn_id: the connection.
    :param until: when the rate limit resets (epoch seconds).
    """
    path = _path(gateway, segmind_conn_id)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):  # the file is an optimization: without it each process is refused once
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(str(until))
        part.replace(path)


def read_limit(gateway: str, segmind_conn_id: str | None) -> float:
    """
    Return when the rate limit resets (epoch seconds); 0 if no process of this machine reported one.

    :param gateway: URL of the connection's gateway.
    :param segmind_conn_id: the connection.
    """
    try:
        # Every user of the machine can write to the folder: do not follow links, do not block on a pipe, and ignore
        # the files of other users.
        descriptor = os.open(_path(gateway, segmind_conn_id), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor) as file:
            own = os.fstat(file.fileno()).st_uid == os.getuid()
            until = float(file.read(40))
    except (OSError, ValueError):
        return 0.0
    return until if own and 0 < until - time.time() < _MAX_WAIT else 0.0
