"""Marks: a POST that never left is known on the same machine, and only there."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.execution import marks


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(marks.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path


def test_a_mark_is_taken_once():
    mark = marks.make()
    assert marks.take(mark)
    assert not marks.take(mark)


def test_another_machine_and_another_start_of_this_one_know_nothing(tmp_path, monkeypatch):
    mark = marks.make()
    boot = tmp_path / "boot_id"
    boot.write_text("0" * 8 + "-0000-0000-0000-" + "0" * 12)
    monkeypatch.setattr(marks, "_BOOT_ID", boot)
    assert not marks.take(mark)
    boot.unlink()
    assert not marks.take(mark)
    assert marks.make() is None


@pytest.mark.parametrize("name", ["", "../x", "a" * 32 + "-../../etc/passwd"])
def test_what_is_not_a_mark_is_not_taken(name):
    assert not marks.take(name)


def test_a_full_disk_costs_no_submit(tmp_path, monkeypatch):
    monkeypatch.setattr(marks.tempfile, "gettempdir", lambda: str(tmp_path / "missing"))
    assert marks.make() is None
