"""The documented versions are those that the matrix runs, with its results."""

from __future__ import annotations

import json
import re
import tomllib

import pytest

from tests.matrix.results import KEPT, PAGE, read_report, table
from tests.matrix.versions import AIRFLOWS, FAST, PYTHONS, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _number(minor):
    return tuple(map(int, minor.split(".")))


def test_the_table_of_the_page_is_that_of_the_runs():
    assert table(json.loads(KEPT.read_text())) in PAGE.read_text()


def test_a_missing_run_is_shown_as_not_run():
    lines = table({"3.1": {"3.12": {"passed": 7, "failed": 1, "skipped": 2, "suite": "fast"}}}).splitlines()
    assert lines[0] == "| Airflow | Python 3.11 | Python 3.12 | Python 3.13 |"
    assert lines[2] == "| 2.11.2 | not run | not run |  |"
    assert lines[4] == "| 3.1.8 | not run | **1 failed**, 7 passed, 2 skipped (fast) | not run |"


def test_a_junit_report_is_counted(tmp_path):
    report = tmp_path / "junit.xml"
    report.write_text('<testsuites><testsuite tests="9" failures="1" errors="1" skipped="3"/></testsuites>')
    assert read_report(report) == {"passed": 4, "failed": 2, "skipped": 3}


def test_no_kept_run_failed():
    for runs in json.loads(KEPT.read_text()).values():
        assert all(run["failed"] == 0 for run in runs.values())


@pytest.mark.parametrize("minor", AIRFLOWS)
def test_the_constraints_are_names_and_versions_only(minor):
    lines = AIRFLOWS[minor].constraints.read_text().splitlines()
    assert all(re.fullmatch(r"# .*|[A-Za-z0-9._-]+==[A-Za-z0-9._+!-]+", line) for line in lines)
    assert f"apache-airflow=={AIRFLOWS[minor].release}" in lines


def test_the_package_requires_the_versions_that_the_matrix_runs():
    oldest, newest = min(AIRFLOWS, key=_number), max(AIRFLOWS, key=_number)
    assert any(need.startswith(f"apache-airflow>={oldest},<{int(newest[0]) + 1}") for need in PROJECT["dependencies"])
    assert PROJECT["requires-python"] == f">={PYTHONS[0]},<3.{int(PYTHONS[-1].split('.')[1]) + 1}"
    named = {name.rpartition(" ")[2] for name in PROJECT["classifiers"] if "Python :: 3." in name}
    assert named == set(PYTHONS)


def test_the_files_of_the_fast_suite_exist():
    assert all((ROOT / path.partition("::")[0]).exists() for path in FAST)
