"""The bill of materials of an environment (CycloneDX): names, versions and dependencies, without paths."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

#: The keys that each component keeps. The tool also writes addresses, and the path of a local wheel.
_KEPT = ("type", "bom-ref", "name", "version", "purl")
_NAME = "airflow-provider-segmind"


def software_bill(python: Path, path: Path) -> None:
    """
    Write the bill of materials of an environment.

    :param python: the environment's Python.
    :param path: the file (JSON).
    :raises ValueError: the bill is not valid CycloneDX, or contains an address or a path.
    """
    tool = Path(sys.executable).with_name("cyclonedx-py")
    command = [str(tool), "environment", "--output-reproducible", "--short-PURLs", "--sv", "1.6", str(python)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    text = json.dumps(reduced(found), indent=1) + "\n"
    _check(text)
    path.write_text(text, encoding="utf-8")


def reduced(found: dict[str, Any]) -> dict[str, Any]:
    """Return the bill with this package as its subject, without addresses, paths and descriptions."""
    components = [{key: item[key] for key in _KEPT if key in item} for item in found["components"]]
    [ours] = [item for item in components if item["name"] == _NAME]
    return {
        "bomFormat": found["bomFormat"],
        "specVersion": found["specVersion"],
        "version": found["version"],
        "metadata": {"component": {**ours, "type": "library", "purl": f"pkg:pypi/{_NAME}@{ours['version']}"}},
        "components": [item for item in components if item is not ours],
        "dependencies": [item for item in found["dependencies"] if item["ref"] != "root-component"],
    }


def _check(text: str) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    if (fault := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)) is not None:
        raise ValueError(f"the bill of materials is not valid CycloneDX: {fault}")
    if "://" in text or '"/' in text:
        raise ValueError("the bill of materials contains an address or a path")
