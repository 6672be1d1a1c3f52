"""
A migrated database of Airflow, created once per version and copied, because a migration takes ten seconds.

The original is a SQLite file in ``.templates`` (``make clean`` removes it). Tests in other processes wait for the
process that creates it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from importlib import metadata
from pathlib import Path

_FOLDER = Path(__file__).parents[1] / ".templates"
_AIRFLOW = Path(sys.executable).with_name("airflow")
#: Airflow's default file name in its home.
DATABASE = "airflow.db"


def copy_database(home: Path) -> None:
    """Copy a migrated, empty database to the default path of an Airflow with this home."""
    shutil.copyfile(_migrated(), home / DATABASE)


def _migrated() -> Path:
    made = _FOLDER / f"airflow-{metadata.version('apache-airflow')}.db"
    _FOLDER.mkdir(exist_ok=True)
    with (_FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_whole(made):
            _migrate(made)
    return made


def _is_whole(database: Path) -> bool:
    """Return whether the database exists and is complete."""
    if not database.exists():
        return False
    try:
        with closing(sqlite3.connect(database)) as connection:
            [[reported]] = connection.execute("PRAGMA quick_check").fetchall()
            return reported == "ok" and bool(connection.execute("SELECT count(*) FROM alembic_version").fetchone()[0])
    except (sqlite3.DatabaseError, ValueError):
        return False


def _migrate(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="segmind-template-") as folder:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "_AIRFLOW"))}
        settings = {"AIRFLOW_HOME": folder, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        done = subprocess.run([_AIRFLOW, "db", "migrate"], env=kept | settings, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"airflow db migrate failed:\n{done.stdout}\n{done.stderr}")
        part = target.with_suffix(".part")
        shutil.copyfile(Path(folder) / DATABASE, part)
        part.replace(target)
