"""
Run the tests on every Airflow: ``make matrix``.

    python -m tests.matrix [--versions "2.11 3.0"] [--pythons "3.11 3.12"] [--fast] [--keep] [arguments of pytest]
    python -m tests.matrix --pin

With ``--keep`` the results go into ``docs/matrix.json`` and the table of ``docs/reference/versions.md``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from datetime import UTC, datetime

from tests.matrix import environments, results
from tests.matrix.versions import AIRFLOWS, FAST, FULL, ROOT, Airflow


def main() -> int:
    """Run the selected versions, and return 1 if a test failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description="Run the tests on every Airflow.")
    parser.add_argument("--versions", default=" ".join(AIRFLOWS), help='such as "2.11 3.0" (default: all)')
    parser.add_argument("--pythons", default="3.11", help='such as "3.11 3.12" (default: 3.11)')
    parser.add_argument("--fast", action="store_true", help="run the subset that takes a few minutes")
    parser.add_argument("--keep", action="store_true", help="write the results into docs/")
    parser.add_argument("--pin", action="store_true", help="update the constraints instead")
    options, further = parser.parse_known_args()
    if unknown := set(options.versions.split()) - set(AIRFLOWS):
        parser.error(f"unknown --versions {', '.join(sorted(unknown))}: choose from {', '.join(AIRFLOWS)}")
    chosen = [AIRFLOWS[minor] for minor in options.versions.split()]
    if options.pin:
        for airflow in chosen:
            environments.pin(airflow)
        return 0
    failed = [
        f"Airflow {airflow.minor} on Python {python}"
        for airflow in chosen
        for python in options.pythons.split()
        if not _run(airflow, python, further, fast=options.fast, keep=options.keep and not further)
    ]
    sys.stdout.write(f"Failed: {', '.join(failed)}\n" if failed else "All passed\n")
    return 1 if failed else 0


def _run(airflow: Airflow, python: str, further: list[str], *, fast: bool, keep: bool) -> bool:
    name = f"Airflow {airflow.release} on Python {python}"
    if python not in airflow.pythons:
        sys.stdout.write(f"{name}: skipped, Airflow does not support this Python\n")
        return True
    if environments.python_of(python) is None:
        sys.stdout.write(f"{name}: skipped, python{python} is not installed\n")
        return True
    began = time.monotonic()
    runs = environments.build(airflow, python)
    sys.stdout.write(f"{name}: environment ready after {time.monotonic() - began:.0f} s\n")
    sys.stdout.flush()
    junit = runs.parents[1] / "junit.xml"
    chosen = FAST if fast else FULL
    command = [str(runs), "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", "-W", "ignore", "--tb=short"]
    command += ["-n", "2", "--dist", "loadgroup"]
    # Tests that start a whole Airflow run in the development environment only, except the kills among the chosen files.
    command += ["-m", "not standalone and not e2e and not ui and not cluster", f"--junitxml={junit}"]
    command += further or chosen
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    began = time.monotonic()
    code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
    seconds = time.monotonic() - began
    if keep and junit.exists():
        counts = results.read_report(junit)
        suite, day = "fast" if fast else "full", datetime.now(UTC).date().isoformat()
        run = {"release": airflow.release, "suite": suite, "seconds": round(seconds), "date": day, **counts}
        results.keep(airflow.minor, python, run)
    sys.stdout.write(f"{name}: {'passed' if code == 0 else 'FAILED'} in {seconds:.0f} s\n")
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
