"""
A PostgreSQL of a test's own, from Debian's packages: own port, own data, gone when the test is.

What the machine may run itself is left alone. Where the packages are missing, ``postgres_binaries`` says so by None,
and a test that can do with another database takes that.
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
#: Faster, and good enough for data that nobody needs after a crash.
_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


def postgres_binaries() -> Path | None:
    """The folder with ``initdb`` and ``postgres`` of the newest installed version, if there is one."""
    versions = [path for path in _INSTALLED.glob("*") if (path / "bin" / "initdb").exists()]
    return max(versions, key=lambda path: float(path.name)) / "bin" if versions else None


@dataclass(frozen=True)
class Postgres:
    """Where a running server is, and how to get in. It listens on loopback only."""

    port: int
    user: str
    password: str
    database: str = "postgres"
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """For SQLAlchemy, such as Airflow's own ``[database] sql_alchemy_conn``."""
        return f"postgresql+psycopg2://{self.user}:{self.password}@{self.host}:{self.port}/{self.database}"

    @property
    def connection(self) -> str:
        """An Airflow connection, for ``AIRFLOW_CONN_…``."""
        fields = {"login": self.user, "password": self.password, "schema": self.database}
        return json.dumps({"conn_type": "postgres", "host": self.host, "port": self.port, **fields})

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What a query finds, read by a client of its own."""
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

    :param binaries: of ``postgres_binaries()``.
    :param folder: where data, password and log go; an account that is not root must be able to get there.
    :param settings: of ``postgresql.conf``, where a test needs others.
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
        """Start it, and return when it answers."""
        log = self._folder / "log"
        with log.open("a") as reported:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._folder / "data", *_arguments(self.access, self._settings)],
                stdout=reported,
                stderr=reported,
                cwd=self._folder,
                env=env,
                start_new_session=True,  # a Ctrl-C at pytest is not for it: we stop it
                **self._account,
            )
        _wait(self._binaries, self.access, self._process, log)

    def stop(self) -> None:
        """Stop it, if it runs; its clients' connections end first."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=30)


@contextmanager
def postgres(binaries: Path, **settings: str) -> Iterator[Postgres]:
    """Run a PostgreSQL for as long as the block lasts, with one empty database; see ``PostgresServer``."""
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
    """Arguments of ``subprocess`` for an account that PostgreSQL accepts; the paths become that account's."""
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
