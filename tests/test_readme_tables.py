"""The tables of the reference state what the code does, and the pages name every argument."""

from __future__ import annotations

import inspect
import re

import pytest

from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.operators.run_model import SegmindRunModelOperator
from airflow_provider_segmind.operators.segmind import (
    SegmindBatchOperator,
    SegmindBriaIncreaseResolutionOperator,
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
)
from airflow_provider_segmind.protocol.events import ERRORS
from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.protocol.settings import EXTRAS
from tests.document_tables import BRANCHES, REFERENCE, TABLES, written
from tests.documents import DOCUMENTS

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
