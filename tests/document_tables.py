"""
The tables of docs/reference/ that follow from the code: ``python -m tests.document_tables`` writes them.

Each stands between ``<!-- name -->`` and ``<!-- /name -->``. A test compares them with the code.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from annotated_types import Ge, Le

from airflow_provider_segmind.exceptions import SegmindError, SegmindRequestError, SegmindResponseError
from airflow_provider_segmind.get_provider_info import get_provider_info
from airflow_provider_segmind.protocol.events import ERRORS
from airflow_provider_segmind.protocol.models import MODELS, model_page

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
#: Branches of the error tree that are never raised themselves.
BRANCHES = {SegmindError, SegmindResponseError, SegmindRequestError}


def errors() -> str:
    """Return the table of all errors: message, class, retried or not, next step."""
    rows = [
        (error.what, f"`{name}`", "yes" if error.default_retryable else "no", error.advice)
        for name, error in ERRORS.items()
        if error not in BRANCHES
    ]
    return table(("message", "class", "retried", "next step"), rows)


def extras() -> str:
    """Return the table of the connection's extras: those of the form."""
    [connection] = get_provider_info()["connection-types"]
    rows = [
        (f"`{name}`", field["label"], field["schema"]["type"][0], field["description"])
        for name, field in connection["conn-fields"].items()
    ]
    return table(("extra", "label in the form", "type", "meaning"), rows)


def models() -> str:
    """Return the table of the models' parameters."""
    rows = []
    for slug, model in MODELS.items():
        first = f"[`{slug}`]({model_page(slug)})"
        for name, field in model.model_fields.items():
            default = "required" if field.is_required() else f"`{str(field.default).lower()}`"
            rows.append((first, f"`{name}`", default, allowed(field, takes_base64=model.takes_base64)))
            first = ""
    return table(("slug", "parameter", "default", "allowed"), rows)


def allowed(field: Any, *, takes_base64: bool) -> str:
    """Return the values that a parameter may have."""
    if typing.get_origin(field.annotation) is typing.Literal:
        return ", ".join(map(str, typing.get_args(field.annotation)))
    least = [limit.ge for limit in field.metadata if isinstance(limit, Ge)]
    most = [limit.le for limit in field.metadata if isinstance(limit, Le)]
    if least and most:
        return f"{least[0]} to {most[0]}"
    if field.annotation is bool:
        return "true, false"
    return "URL, data URI, base64" if takes_base64 else "URL"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ("---",) * len(head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


#: Name of a table -> its page, and what makes it.
TABLES = {"errors": ("errors.md", errors), "extras": ("connection.md", extras), "models": ("models.md", models)}


def written(name: str) -> str:
    """Return a table as its page has it."""
    text = (REFERENCE / TABLES[name][0]).read_text(encoding="utf-8")
    return text.split(f"<!-- {name} -->\n", 1)[1].split(f"<!-- /{name} -->", 1)[0]


def main() -> None:
    """Write each table into its page."""
    for name, (page, make) in TABLES.items():
        path = REFERENCE / page
        text = path.read_text(encoding="utf-8")
        between = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
        made = make().replace("\\", r"\\")
        path.write_text(between.sub(made, text), encoding="utf-8")


if __name__ == "__main__":
    main()
