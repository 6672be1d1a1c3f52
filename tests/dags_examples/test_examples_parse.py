"""Every example, parsed as Airflow's DAG processor does: in a process of its own, without a network."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.airflow_versions import DAG_BAGS, needs_airflow_sdk

pytestmark = needs_airflow_sdk

EXAMPLES = Path(__file__).parents[2] / "dags_examples"
FILES = sorted(EXAMPLES.glob("*.py"))
DAG_IDS = {
    "bria_increase_resolution.py": "segmind_bria_increase_resolution",
    "budget.py": "segmind_budget",
    "contact_sheet.py": "segmind_contact_sheet",
    "daily_folder.py": "segmind_daily_folder",
    "esrgan.py": "segmind_esrgan",
    "nomos_upscaler.py": "segmind_nomos_upscaler",
    "split_pipeline.py": "segmind_split_pipeline",
    "taskflow.py": "segmind_taskflow",
    "upscale_catalogue.py": "segmind_upscale_catalogue",
    "upscale_folder.py": "segmind_upscale_folder",
}
#: The other examples have no schedule.
SCHEDULES = {"daily_folder.py": "'@daily'", "contact_sheet.py": "[AssetAlias(name='segmind_upscaled', group='asset')]"}

#: Parses the folder in a process where no socket can be opened, and prints what it found.
PARSE = """
    import importlib, json, pathlib, socket, sys

    def refuse(*args, **kwargs):
        raise OSError("a DAG file must not open a socket while it is parsed")

    DagBag = importlib.import_module(sys.argv[2]).DagBag

    socket.socket.connect = socket.socket.connect_ex = refuse
    socket.create_connection = socket.getaddrinfo = refuse
    bag = DagBag(sys.argv[1])
    found = {
        "errors": bag.import_errors,
        "dags": {
            dag.dag_id: {
                "file": pathlib.Path(dag.fileloc).name,
                "tags": sorted(dag.tags),
                "doc": dag.doc_md,
                "schedule": repr(dag.schedule),
                "catchup": dag.catchup,
                "params": dag.params.dump(),
            }
            for dag in bag.dags.values()
        },
        "heavy": sorted({"PIL", "uvicorn", "airflow_provider_segmind.client"} & set(sys.modules)),
    }
    print("FOUND" + json.dumps(found))
"""


@pytest.fixture(scope="module")
def parsed(airflow_db: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PARSE), str(EXAMPLES), DAG_BAGS],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(EXAMPLES.parent)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.rpartition("FOUND")[2])
    return found


def test_all_examples_parse_without_a_network(parsed: dict[str, Any]) -> None:
    assert parsed["errors"] == {}
    assert {dag["file"]: dag_id for dag_id, dag in parsed["dags"].items()} == DAG_IDS
    assert {file.name for file in FILES} == set(DAG_IDS)


def test_parsing_imports_nothing_heavy(parsed: dict[str, Any]) -> None:
    assert parsed["heavy"] == []


def test_every_dag_has_documentation_and_tags(parsed: dict[str, Any]) -> None:
    for dag in parsed["dags"].values():
        tree = ast.parse((EXAMPLES / dag["file"]).read_text())
        docstring = ast.get_docstring(tree)
        assert docstring is not None
        assert len(docstring) > 200
        assert dag["doc"].strip() == docstring.strip()  # Airflow's UI shows the file's docstring
        assert {"segmind", "example"} <= set(dag["tags"])
        assert dag["schedule"] == SCHEDULES.get(dag["file"], "None")
        assert not dag["catchup"]
        assert dag["params"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_top_level_only_declares_the_dag(file: Path) -> None:
    """Only a docstring, imports, constants, the DAG's function and its one call are allowed."""
    tree = ast.parse(file.read_text())
    calls = []
    for node in tree.body[1:]:
        if isinstance(node, ast.Import | ast.ImportFrom | ast.FunctionDef):
            continue
        if isinstance(node, ast.Assign):  # a constant, the module's logger, or the name of an asset
            if isinstance(node.value, ast.Call):
                assert ast.unparse(node.value).startswith(("logging.getLogger(__name__)", "AssetAlias("))
            continue
        assert isinstance(node, ast.Expr), ast.unparse(node)
        calls.append(ast.unparse(node.value))
    assert calls == [f"{DAG_IDS[file.name]}()"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_an_example_imports_only_public_modules(file: Path) -> None:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
    roots = {module.partition(".")[0] for module in modules}
    assert not roots & {"httpx", "requests", "urllib", "socket", "segmind"}
    airflow = {module for module in modules if module.startswith("airflow.")}
    assert airflow <= {
        "airflow.sdk",
        "airflow.providers.common.sql.operators.sql",
        "airflow.providers.common.sql.hooks.sql",
    }
