"""The checks of make build: the wheel's contents and the bill of materials. No test builds, which takes minutes."""

from __future__ import annotations

import re
from pathlib import Path
from zipfile import ZipFile

import pytest

from airflow_provider_segmind import __version__
from release.__main__ import PACKAGE, ROOT, ReleaseError, check_contents
from release.sbom import reduced

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def wheel(folder: Path, *, without: str = "", version: str = __version__) -> Path:
    path = folder / "some.whl"
    with ZipFile(path, "w") as opened:
        for file in (ROOT / PACKAGE).rglob("*"):
            name = file.relative_to(ROOT).as_posix()
            if file.is_file() and "__pycache__" not in file.parts and name != without:
                opened.write(file, name)
        opened.writestr("some.dist-info/METADATA", f"Name: some\nVersion: {version}\n\nText.")
    return path


def test_a_wheel_is_the_whole_package_and_nothing_else(tmp_path):
    check_contents(wheel(tmp_path))
    with pytest.raises(ReleaseError, match=r"not in both: airflow_provider_segmind/py\.typed"):
        check_contents(wheel(tmp_path, without=f"{PACKAGE}/py.typed"))
    with pytest.raises(ReleaseError, match="the wheel has version 9"):
        check_contents(wheel(tmp_path, version="9"))
    whole = wheel(tmp_path)
    with ZipFile(whole, "a") as opened:
        opened.writestr("tests/test_more.py", "")
    with pytest.raises(ReleaseError, match=r"tests/test_more\.py"):
        check_contents(whole)


def test_the_version_stands_in_one_place():
    for name in ("pyproject.toml", "README.md", "docs/hosted.md"):
        assert __version__ not in (ROOT / name).read_text(encoding="utf-8"), name


def test_a_bill_has_names_and_versions_only():
    where = [{"type": "distribution", "url": "file:///somewhere/some.whl"}]
    ours = {"type": "library", "bom-ref": "a", "name": "airflow-provider-segmind", "version": "1", "author": "x"}
    other = {"type": "library", "bom-ref": "b", "name": "b", "version": "2", "purl": "pkg:pypi/b@2"}
    found = reduced(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {"tools": {}, "properties": [{"name": "path", "value": "/somewhere"}]},
            "components": [{**ours, "externalReferences": where}, {**other, "description": "words"}],
            "dependencies": [{"ref": "a", "dependsOn": ["b"]}, {"ref": "root-component"}],
        }
    )
    assert found["components"] == [other]
    assert found["metadata"]["component"]["purl"] == "pkg:pypi/airflow-provider-segmind@1"
    assert found["dependencies"] == [{"ref": "a", "dependsOn": ["b"]}]
    assert "somewhere" not in str(found)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_by_its_commit_and_names_its_tag(workflow):
    used = re.findall(r"uses: (.*)", workflow.read_text(encoding="utf-8"))
    assert used
    assert [line for line in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)] == []
