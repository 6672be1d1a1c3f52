"""The tables of the reference state what the code does, and the pages name every argument."""

from __future__ import annotations

import ast
import inspect
import re

import pytest

from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.operators.segmind import (
    SegmindBatchOperator,
    SegmindBriaIncreaseResolutionOperator,
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
    SegmindRunModelOperator,
)
from airflow_provider_segmind.protocol.events import ERRORS
from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.protocol.settings import EXTRAS
from tests.document_tables import BRANCHES, REFERENCE, TABLES, written
from tests.documents import DOCUMENTS

ROOT = REFERENCE.parents[1]
PAGES = {document: document.read_text(encoding="utf-8") for document in DOCUMENTS}


def rows(text):
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line.startswith("|")
    ]


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_that_of_the_code(name):
    assert written(name) == TABLES[name][1](), "run: python -m tests.document_tables"


def test_every_error_is_there_with_what_happens_to_it():
    found = {row[1].strip("`"): row for row in rows(written("errors"))[2:]}
    assert set(found) == {name for name, cls in ERRORS.items() if cls not in BRANCHES}
    for name, row in found.items():
        cls = ERRORS[name]
        assert issubclass(cls, SegmindError)
        assert row[2] == ("yes" if cls.default_retryable else "no"), name
        assert row[0] == cls.what, name


def test_every_parameter_is_there_with_its_default():
    text = written("models")
    for slug, model in MODELS.items():
        part = text.split(f"[`{slug}`]", 1)[1].split("[`", 1)[0]
        for name, field in model.model_fields.items():
            default = "required" if field.is_required() else f"`{str(field.default).lower()}`"
            assert f"`{name}` | {default} |" in part, (slug, name)


def test_every_extra_is_there_with_when_to_use_it():
    assert {name for name in EXTRAS if f"| `{name}` |" not in written("extras")} == set()
    stories = PAGES[REFERENCE / "connection.md"].split("Use them when:", 1)[1]
    assert {name for name in EXTRAS if f"`{name}`" not in stories} == set()


@pytest.mark.parametrize(
    "operator",
    [
        SegmindRunModelOperator,
        SegmindBatchOperator,
        SegmindEsrganOperator,
        SegmindNomosUpscalerOperator,
        SegmindBriaIncreaseResolutionOperator,
    ],
)
def test_every_argument_is_shown_on_some_page(operator):
    """Each argument of an operator stands in the reference's "use it when", or in a guide."""
    named = {
        name
        for base in operator.__mro__
        if base.__module__.startswith("airflow_provider_segmind.") and "__init__" in vars(base)
        for name, parameter in inspect.signature(base.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    text = "\n".join(PAGES.values())
    assert {name for name in named if not re.search(rf"`{name}[`=]|\b{name}=", text)} == set()


def test_the_comparison_in_the_readme_repeats_what_was_measured():
    """The numbers stand in the tables that the measuring programs write; lines of code are counted here."""
    text = PAGES[ROOT / "README.md"].split("## Why not an `@task`", 1)[1].split("\n## ", 1)[0]
    kills, slots, polls, code = (row[1:] for row in rows(text)[2:])
    [paid] = (row for row in rows(PAGES[ROOT / "docs/reliability.md"]) if row[0] == "**billed for 5 images**")
    assert [cell.strip("*") for cell in paid[1:]] == kills
    measured = PAGES[ROOT / "docs/performance.md"].split("| 100 images of 30 s |", 1)[1]
    names = ("this provider, deferrable", "the vendor's SDK in a `@task`", "`HttpOperator` + `HttpSensor`")
    found = [next(row for row in rows(measured) if row[0].startswith(name)) for name in names]
    assert [row[2] for row in found] == slots
    assert [row[4].partition(",")[0] for row in found] == polls
    sdk = lines_of("tests/chaos/peers.py", {"save", "fetch", "upscale_by_sdk", "output_of"})
    http = lines_of("tests/chaos/dags/chaos_peers.py", {"submit", "wait", "result", "stored"}) + 1  # submit >> wait …
    http += lines_of("tests/chaos/peers.py", {"save", "fetch", "output_of"})
    ours = PAGES[ROOT / "README.md"].split("    SegmindEsrganOperator(", 1)[1].partition("```")[0]
    assert [str(ours.count("\n")), str(sdk), str(http)] == code


def lines_of(file, names):
    """Count the lines of the functions and assignments of these names, without docstrings and comments."""
    found = 0
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        targets = getattr(node, "targets", [])
        if getattr(node, "name", None) in names or any(getattr(target, "id", None) in names for target in targets):
            documented = isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None
            found += node.end_lineno - node.lineno + 1 - documented
    return found
