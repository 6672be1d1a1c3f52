"""The tables of the README say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from airflow_provider_segmind.exceptions import (
    SegmindError,
    SegmindRequestError,
    SegmindResponseError,
)
from airflow_provider_segmind.protocol.events import ERRORS
from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.protocol.settings import EXTRAS

README = (Path(__file__).parent.parent / "README.md").read_text()
#: Branches of the tree that are never raised themselves.
BRANCHES = {SegmindError, SegmindResponseError, SegmindRequestError}


def section(title):
    return README.split(f"### {title}\n", 1)[1].split("\n#", 1)[0]


def rows(text):
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line.startswith("|")
    ]


def test_every_error_is_there_with_what_happens_to_it():
    found = {row[1].strip("`"): row for row in rows(section("The errors"))[2:]}
    assert set(found) == {name for name, cls in ERRORS.items() if cls not in BRANCHES}
    for name, row in found.items():
        cls = ERRORS[name]
        assert row[2].partition(",")[0] == ("yes" if cls.default_retryable else "no"), name
        words = re.sub(r" \([\d, ]+\)$", "", row[0]).removeprefix("… ")
        assert words.split()[-1] in cls.what, name


def test_every_parameter_is_there_with_its_default():
    text = section("The models")
    for slug, model in MODELS.items():
        part = text.split(f"[`{slug}`]", 1)[1].split("[`", 1)[0]
        for name, field in model.model_fields.items():
            default = "required" if field.is_required() else str(field.default).lower()
            assert re.search(rf"`{name}` \| \w+ \| {default} \|", part), (slug, name)


def test_every_extra_is_there():
    text = section("The connection")
    assert {name for name in EXTRAS if f"`{name}`" not in text} == set()
