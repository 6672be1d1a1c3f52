"""The versions of Airflow and Python that the matrix runs, and the constraints of each Airflow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Airflow:
    """
    A minor version of Airflow.

    :param minor: such as ``3.0``.
    :param release: the release that is installed.
    :param pythons: the Pythons that both its metadata and this package support.
    :param before: the newest release date of its packages, near its own release date, as in Airflow's own constraints.
        ``common-compat`` and Segmind's SDK may be newer. None: no limit.
    """

    minor: str
    release: str
    pythons: tuple[str, ...]
    before: str | None = None

    @property
    def constraints(self) -> Path:
        """The file with names and versions; the newest Airflow uses that of the development environment."""
        return ROOT / (f"constraints/airflow-{self.minor}.txt" if self.before else "constraints.txt")


PYTHONS = ("3.11", "3.12", "3.13")
AIRFLOWS = {
    airflow.minor: airflow
    for airflow in (
        Airflow("2.11", "2.11.2", PYTHONS[:2], before="2026-03-15"),
        Airflow("3.0", "3.0.6", PYTHONS[:2], before="2025-09-01"),
        Airflow("3.1", "3.1.8", PYTHONS, before="2026-03-15"),
        Airflow("3.2", "3.2.2", PYTHONS, before="2026-06-01"),
        Airflow("3.3", "3.3.2", PYTHONS),
    )
}

#: Starts a whole Airflow as processes, and kills them: one to two minutes.
_WHOLE = "tests/chaos/test_every_airflow.py"
_OF_THE_NEWEST = ("chaos", "e2e", "simulation", "ui", "__pycache__")
#: All tests without a browser or a whole Airflow, and ``_WHOLE``.
FULL = (
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").glob("*/")) if path.name not in _OF_THE_NEWEST),
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "tests").glob("test_*.py"))),
    _WHOLE,
)

_CASES = (
    "deferrable-esrgan x2",
    "plain-nomos",
    "deferrable-input by path",
    "plain-lost response",
    "deferrable-bad key",
)
#: A subset of a few minutes: the hook, the ledger, the triggers, a DAG run in both modes, a whole Airflow with kills.
FAST = (
    "tests/hooks",
    "tests/triggers",
    "tests/test_client.py",
    "tests/test_compat.py",
    "tests/execution",
    "tests/test_storage.py",
    *(f"tests/operators/test_both_modes.py::test_case[{case}]" for case in _CASES),
    _WHOLE,
)
