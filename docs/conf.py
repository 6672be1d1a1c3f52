"""Settings of the documentation: ``make docs`` builds it, and takes every warning for an error."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

from airflow_provider_segmind import __version__

DOCS = Path(__file__).parent
# The API pages import Airflow, which writes its configuration into its home.
os.environ["AIRFLOW_HOME"] = str(DOCS / "_build" / "airflow")
ROOT = DOCS.parent
REPOSITORY = "https://github.com/segmind/airflow-provider-segmind"
#: Pages that only include a file of the repository, by that file.
INCLUDED = {ROOT / "README.md": "readme.md", ROOT / "CHANGELOG.md": "changelog.md"}

project = "airflow-provider-segmind"
version = release = __version__
copyright = "the authors of airflow-provider-segmind"
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

autodoc_default_options = {"show-inheritance": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100

html_theme = "shibuya"
html_title = f"{project} {version}"
html_theme_options = {"github_url": REPOSITORY, "accent_color": "violet"}
html_show_sourcelink = False


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", lambda app, name, text: _lead_home(text, DOCS / name))
    app.connect("include-read", lambda app, path, name, text: _lead_home(text, DOCS / path))


def _lead_home(text: list[str], source: Path) -> None:
    """Links between the repository's files, as its host shows them, become links between pages or to the host."""

    source = source.resolve()
    page = DOCS if source in INCLUDED else source.parent

    def link(found: re.Match[str]) -> str:
        target = (source.parent / found["path"]).resolve()
        if target in INCLUDED:
            path = os.path.relpath(DOCS / INCLUDED[target], page)
        elif target.is_relative_to(DOCS) and target.is_file():
            path = os.path.relpath(target, page)
        elif target.is_relative_to(ROOT) and target.exists():
            kind = "tree" if target.is_dir() else "blob"
            path = f"{REPOSITORY}/{kind}/main/{target.relative_to(ROOT).as_posix()}"
        else:
            return found[0]  # the builder complains
        return f"]({path}{found['rest']})"

    text[0] = re.sub(r"\]\((?P<path>[^)#:\s]+)(?P<rest>[^):]*)\)", link, text[0])
