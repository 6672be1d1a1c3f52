"""``make build``: build wheel and sdist, check them, install the wheel in a clean environment, run the demo there."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import venv
from collections.abc import Sequence
from email import message_from_bytes
from pathlib import Path
from zipfile import ZipFile

from rich.console import Console

from airflow_provider_segmind import __version__
from release.sbom import software_bill

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "airflow_provider_segmind"
DIST, WORK = ROOT / "dist", ROOT / "build"
#: The extra that the demo needs.
_EXTRAS = "[emulator]"
#: Variables of the machine with these prefixes must not influence the wheel.
_FOREIGN = ("AIRFLOW", "PYTHON", "SEGMIND_", "VIRTUAL_ENV")

console = Console()


class ReleaseError(Exception):
    """The release is not valid."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Build and verify the release; return 1 if a check fails."""
    command = argparse.ArgumentParser(prog="python -m release", description=__doc__)
    command.add_argument("--no-demo", action="store_true", help="skip the last step, which takes minutes")
    options = command.parse_args(arguments)
    try:
        wheel, sdist = build()
        check_contents(wheel)
        python = install(wheel)
        software_bill(python, WORK / "sbom.cdx.json")
        if not options.no_demo:
            run_demo(python, sdist)
    except (ReleaseError, subprocess.CalledProcessError) as error:
        console.print(f"[red]The release is not valid: {error}", highlight=False)
        return 1
    shown = ", ".join(str(path.relative_to(ROOT)) for path in (wheel, sdist, WORK / "sbom.cdx.json"))
    console.print(f"[green]Version {__version__} is ready to be released:[/] {shown}")
    return 0


def build() -> tuple[Path, Path]:
    """Build the sdist, and from it the wheel; return wheel and sdist."""
    for folder in (DIST, WORK):
        shutil.rmtree(folder, ignore_errors=True)
    WORK.mkdir()
    _run(sys.executable, "-m", "build", "--outdir", DIST, ROOT)
    _run(sys.executable, "-m", "twine", "check", "--strict", *sorted(DIST.iterdir()))
    [wheel], [sdist] = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    return wheel, sdist


def check_contents(wheel: Path) -> None:
    """
    Verify that the wheel contains every file of the package, and no other file.

    :raises ReleaseError: a file is missing or unexpected, or the version differs.
    """
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / PACKAGE).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with ZipFile(wheel) as opened:
        names = set(opened.namelist())
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        version = message_from_bytes(opened.read(metadata))["Version"]
    found = {name for name in names if ".dist-info/" not in name}
    if wrong := sorted(found ^ wanted):
        raise ReleaseError(f"these files are in the wheel or in the tree, but not in both: {', '.join(wrong)}")
    if f"{PACKAGE}/py.typed" not in found:
        raise ReleaseError("py.typed is missing from the wheel")
    if version != __version__:
        raise ReleaseError(f"the wheel has version {version}, the package {__version__}")
    console.print(f"The wheel contains the {len(found)} files of the package, and no other file")


def install(wheel: Path) -> Path:
    """Install the wheel in a clean environment, and return its Python."""
    folder = WORK / "venv"
    console.print("Installing the wheel in a clean environment (a few minutes)")
    venv.create(folder, with_pip=True, clear=True)
    python = folder / "bin" / "python"
    _run(python, "-m", "pip", "install", "-qq", "-c", ROOT / "constraints.txt", f"{wheel}{_EXTRAS}")
    _run(python, "-m", "pip", "check")
    where = _run(python, "-c", f"import {PACKAGE} as package; print(package.__file__)", cwd=WORK, read=True)
    if not Path(where.strip()).is_relative_to(folder):
        raise ReleaseError(f"{where.strip()} is imported instead of the installed wheel")
    return python


def run_demo(python: Path, sdist: Path) -> None:
    """Run the demo of the unpacked sdist without its package, so that it runs the installed wheel."""
    with tarfile.open(sdist) as opened:
        opened.extractall(WORK / "sdist", filter="data")
    [tree] = (WORK / "sdist").iterdir()
    shutil.rmtree(tree / PACKAGE)
    _run(python, "-m", "demo", cwd=tree)


def _run(*command: str | Path, cwd: Path = ROOT, read: bool = False) -> str:
    """Run a command without the machine's variables for Python and Airflow; return its output if ``read``."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    completed = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        check=True,
        text=True,
        stdout=subprocess.PIPE if read else None,
    )
    return completed.stdout or ""


if __name__ == "__main__":
    sys.exit(main())
