"""The repository speaks one language: the retired words of docs/glossary.md are used nowhere."""

from __future__ import annotations

import pytest

from tests.words import ROOT, files, retired_in


def test_no_retired_word_is_used() -> None:
    found = [f"{path}:{line}: {word}" for path in files() for line, word in retired_in(path)]
    assert found == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def look_up(): pass", ["look in look_up"]),
        ("x = 'The answer to a submit'", ["answer"]),
        ("# it is no URI", ["is no"]),
        ("# it is no longer used; there is no record", []),
        ("class HTTPGate: pass", ["Gate in HTTPGate"]),
        ("class Gateway: pass", []),
    ],
)
def test_words_are_found_in_names_and_text(tmp_path, text: str, expected: list[str]) -> None:
    path = tmp_path / "module.py"
    path.write_text(text)
    assert [word for _, word in retired_in(path.relative_to(tmp_path), root=tmp_path)] == expected


def test_the_files_of_every_room_are_read() -> None:
    names = {str(path) for path in files()}
    assert {"README.md", "Makefile", "CHANGELOG.md", "docs/how-it-works.md"} <= names
    assert any(name.startswith("airflow_provider_segmind/plugins/www/") for name in names)
    assert ROOT.is_dir()
