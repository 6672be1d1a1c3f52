"""Build an environment for each Airflow and Python with uv: ``.matrix/<airflow>/py<python>/``."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.matrix.versions import ROOT, Airflow

HOME = ROOT / ".matrix"
#: Packages that may be newer than ``Airflow.before``.
_NEWEST = ("apache-airflow-providers-common-compat", "segmind")


def _uv(*arguments: str | Path, text: str | None = None) -> None:
    uv = Path(sys.executable).parent / "uv"
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    subprocess.run([uv, *arguments], check=True, cwd=ROOT, env=environment, input=text, text=True)


def python_of(version: str) -> str | None:
    """Return the path of an installed Python that works; None if it is missing."""
    found = shutil.which(f"python{version}")
    works = found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0
    return found if works else None


def build(airflow: Airflow, python: str) -> Path:
    """Build the environment if it is missing or outdated, and return its Python."""
    home = HOME / airflow.minor / f"py{python}"
    stamp = home / ".installed"
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in (ROOT / "pyproject.toml", airflow.constraints)))
    runs = home / "bin" / "python"
    if stamp.exists() and stamp.read_text() == wanted.hexdigest():
        return runs
    _uv("venv", "--quiet", "--clear", "--python", python_of(python) or python, home)
    pinned = ("--constraint", airflow.constraints)
    _uv("pip", "install", "--quiet", "--python", runs, *pinned, f"apache-airflow=={airflow.release}", "-e", ".[test]")
    stamp.write_text(wanted.hexdigest())
    return runs


def pin(airflow: Airflow) -> None:
    """Update an Airflow's constraints: names and versions only, without the addresses of the packages."""
    if airflow.before is None:
        return  # "make constraints" updates constraints.txt
    limits = [f"--exclude-newer-package={name}=2999-01-01" for name in _NEWEST]
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.txt"
        _uv(
            *("pip", "compile", "--quiet", "--python-version", "3.11", "--extra", "test", "--no-header"),
            *("--no-annotate", "--no-emit-index-url", "--exclude-newer", airflow.before, *limits),
            *("--output-file", found, "-", "pyproject.toml"),
            text=f"apache-airflow=={airflow.release}\n",
        )
        pins = re.findall(r"^[A-Za-z0-9._-]+==\S+$", found.read_text(), flags=re.MULTILINE)
    head = f"# What the tests run with on Airflow {airflow.minor} (names and versions only): make pins updates it."
    airflow.constraints.write_text("\n".join([head, *pins, ""]))
    sys.stdout.write(f"{airflow.constraints.relative_to(ROOT)}: {len(pins)} packages\n")
