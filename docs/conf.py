"""Settings of the documentation: ``make docs`` builds it and treats every warning as an error."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

from airflow_provider_segmind import __version__

DOCS = Path(__file__).parent
# The reference imports Airflow, which writes its configuration into its home.
os.environ["AIRFLOW_HOME"] = str(DOCS / "_build" / "airflow")
ROOT = DOCS.parent
REPOSITORY = "https://github.com/segmind/airflow-provider-segmind"
#: Files of the repository that have a page of their own here -> that page.
INCLUDED = {
    ROOT / "README.md": "index.md",
    ROOT / "CHANGELOG.md": "changelog.md",
    ROOT / "CONTRIBUTING.md": "contributing.md",
}

project = "airflow-provider-segmind"
version = release = __version__
copyright = "the authors of airflow-provider-segmind"
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
html_extra_path = ["llms.txt"]

autodoc_default_options = {"show-inheritance": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100

html_theme = "shibuya"
html_title = f"{project} {version}"
html_theme_options = {"github_url": REPOSITORY, "accent_color": "violet"}
html_static_path = ["static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False


def setup(app: Sphinx) -> None:
    """Connect the handlers. Sphinx calls this."""
    app.connect("source-read", lambda app, name, text: _rewrite_links(text, DOCS / f"{name}.md"))
    app.connect("include-read", lambda app, path, name, text: _rewrite_links(text, DOCS / path))


def _rewrite_links(text: list[str], source: Path) -> None:
    """Turn links between the repository's files into links between pages, or into links to the repository's host."""

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
            return found[0]  # the builder reports it
        return f"]({path}{found['rest']})"

    text[0] = re.sub(r"\]\((?P<path>[^)#:\s]+)(?P<rest>[^):]*)\)", link, text[0])
