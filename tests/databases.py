"""
A PostgreSQL for one test, from Debian's packages, with its own port and data. It is removed after the test.

A PostgreSQL of the machine is not touched. If the packages are missing, ``postgres_binaries`` returns None, and a test
uses another database if it can.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.airflow_home import free_ports

_INSTALLED = Path("/usr/lib/postgresql")
#: Faster, because the data is not needed after a crash.
_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


def postgres_binaries() -> Path | None:
    """Return the folder with ``initdb`` and ``postgres`` of the newest installed version, or None."""
    versions = [path for path in _INSTALLED.glob("*") if (path / "bin" / "initdb").exists()]
    return max(versions, key=lambda path: float(path.name)) / "bin" if versions else None


@dataclass(frozen=True)
class Postgres:
    """Address and credentials of a running server, which listens on loopback only."""

    port: int
    user: str
    password: str
    database: str = "postgres"
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """The URL for SQLAlchemy, such as for ``[database] sql_alchemy_conn``."""
        return f"postgresql+psycopg2://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"

    @property
    def connection(self) -> str:
        """The Airflow connection, for ``AIRFLOW_CONN_…``."""
        fields = {"login": self.user, "password": self.password, "schema": self.database}
        return json.dumps({"conn_type": "postgres", "host": self.host, "port": self.port, **fields})

    def rows(self, query: str) -> list[dict[str, Any]]:
        """Return the rows of a query, over a new connection."""
        import psycopg2
        from psycopg2.extras import RealDictCursor

        where = {"host": self.host, "port": self.port, "dbname": self.database}
        connection = psycopg2.connect(user=self.user, password=self.password, cursor_factory=RealDictCursor, **where)
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(query)
            return [dict(row) for row in cursor.fetchall()]


class PostgresServer:
    """
    A PostgreSQL that can be stopped and started again on the same port with the same data.

    :param binaries: the folder from ``postgres_binaries()``.
    :param folder: the folder for data, password and log, which an account other than root must be able to read.
    :param settings: further settings of ``postgresql.conf``.
    """

    def __init__(self, binaries: Path, folder: Path, settings: dict[str, str]) -> None:
        self.access = Postgres(free_ports(1)[0], user="segmind", password=secrets.token_hex(8))
        self._binaries, self._folder, self._settings = binaries, folder, settings
        self._process: subprocess.Popen[bytes] | None = None
        secret = folder / "password"
        secret.write_text(self.access.password)
        self._account = _account(folder, secret)  # PostgreSQL refuses to run as root
        command: list[str | Path] = [binaries / "initdb", "--pgdata", folder / "data", "--username", self.access.user]
        command += ["--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **self._account)

    def start(self, env: dict[str, str] | None = None) -> None:
        """Start the server, and return when it responds."""
        log = self._folder / "log"
        with log.open("a") as reported:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._folder / "data", *_arguments(self.access, self._settings)],
                stdout=reported,
                stderr=reported,
                cwd=self._folder,
                env=env,
                start_new_session=True,  # Ctrl-C in pytest must not reach it, because we stop it
                **self._account,
            )
        _wait(self._binaries, self.access, self._process, log)

    def stop(self) -> None:
        """Stop the server if it is running, after closing the connections of its clients."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=30)


@contextmanager
def postgres(binaries: Path, **settings: str) -> Iterator[Postgres]:
    """Run a PostgreSQL with one empty database during the block; see ``PostgresServer``."""
    folder = Path(tempfile.mkdtemp(prefix="segmind-postgres-"))
    try:
        server = PostgresServer(binaries, folder, settings)
        server.start()
        try:
            yield server.access
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _account(*paths: Path) -> dict[str, Any]:
    """Return arguments of ``subprocess`` for an account that PostgreSQL accepts, and give it the paths."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known["nobody"]
    for path in paths:
        os.chown(path, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _arguments(server: Postgres, settings: dict[str, str]) -> Iterator[str]:
    given = {"listen_addresses": server.host, "port": str(server.port), "unix_socket_directories": ""}
    for name, value in (_SETTINGS | given | settings).items():
        yield from ("-c", f"{name}={value}")


def _wait(binaries: Path, server: Postgres, process: subprocess.Popen[bytes], log: Path) -> None:
    ready = [str(binaries / "pg_isready"), "--quiet", "--host", server.host, "--port", str(server.port)]
    deadline = time.monotonic() + 30
    while subprocess.run(ready, check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}")
        time.sleep(0.1)
