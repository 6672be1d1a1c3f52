"""What the import of an operator, a sensor or the trigger loads: the DAG processor pays for it with each DAG file."""

from __future__ import annotations

import ast
import functools
import json
import subprocess
import sys
import textwrap

import pytest

from tests.airflow_versions import needs_todays_imports
from tests.source_tree import MODULES, PACKAGE, ROOT, tree_of, type_checking_lines

OPERATORS = (
    "operators.segmind",
    "sensors.segmind",
    "decorators.segmind",
    "transfers.segmind_to_object_storage",
    "hooks.segmind",
)
TRIGGER = "triggers.segmind"

#: Imports what Airflow's own operators load too, and then each module in a fork of the process.
IMPORTS = """
    import json, os, sys

    import airflow.sdk
    import airflow.providers.common.compat.sdk as compat

    modules, names = sys.argv[1].split(), sys.argv[2:]
    for name in names:
        getattr(compat, name, None)  # an older Airflow lacks some
    import airflow.providers.common.compat.connection

    before = set(sys.modules)
    for module in modules:
        if os.fork() == 0:
            __import__(module)
            print("FOUND", module, json.dumps(sorted(set(sys.modules) - before)), flush=True)
            os._exit(0)
        assert os.wait()[1] == 0, module
"""


def names_from_compat(modules: list[str]) -> list[str]:
    """Return the names that these modules import from ``common.compat.sdk``, which loads each name's module lazily."""
    return sorted(
        {
            alias.name
            for module in modules
            for top in tree_of(MODULES[module]).body
            for node in (top.body if isinstance(top, ast.If) else [top])
            if isinstance(node, ast.ImportFrom) and node.module == "airflow.providers.common.compat.sdk"
            if node.lineno not in type_checking_lines(MODULES[module])
            for alias in node.names
        }
    )


@functools.cache
def imported() -> dict[str, list[str]]:
    """Return, by module, what its import adds to what Airflow has loaded."""
    modules = [f"{PACKAGE}.{module}" for module in (*OPERATORS, TRIGGER)]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(IMPORTS), " ".join(modules), *names_from_compat(list(MODULES))],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ", 2) for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    found = {module: json.loads(names) for _, module, names in lines}
    assert all(module in found[module] for module in modules)
    return {module.removeprefix(f"{PACKAGE}."): names for module, names in found.items()}


@needs_todays_imports
@pytest.mark.parametrize("module", OPERATORS)
def test_an_import_loads_only_modules_of_the_package(module: str) -> None:
    """The DAG processor imports the operators for every DAG file."""
    added = imported()[module]
    assert [name for name in added if not name.startswith(PACKAGE)] == []
    assert not any(name.startswith((f"{PACKAGE}.emulator", f"{PACKAGE}.client")) for name in added)


@needs_todays_imports
def test_importing_the_trigger_loads_nothing_heavy() -> None:
    """The trigger needs Airflow's trigger module, which a triggerer has loaded already."""
    heavy = {"PIL", "starlette", "uvicorn", "httpx", "aiohttp", "fastapi", "sqlalchemy", "s3fs", "boto3", "fsspec"}
    assert {name for name in imported()[TRIGGER] if name.partition(".")[0] in heavy} == set()
