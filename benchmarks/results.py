"""The latest figures of each part as JSON: figures, versions and the number of cores, nothing else of the machine."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.figures import Part

_PACKAGES = ("apache-airflow", "httpx", "aiohttp", "apache-airflow-providers-http", "segmind")
_DIGITS = 4

#: Name on the command line -> the part as :meth:`Part.to_dict` returns it, with an entry ``measured``.
Kept = dict[str, dict[str, Any]]


def keep(path: Path, name: str, part: Part) -> Kept:
    """Replace the stored figures of one part, and return the figures of all parts."""
    kept: Kept = json.loads(path.read_text()) if path.exists() else {}
    kept[name] = rounded(part.to_dict()) | {"measured": _circumstances()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return kept


def _circumstances() -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        **{package: version(package) for package in _PACKAGES},
    }


def rounded(value: Any) -> Any:
    """Round every number, because further digits are noise."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner) for inner in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
