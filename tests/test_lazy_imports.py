"""Lazy exports: the names in a stub are those of the module, and importing the module imports nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from airflow_provider_segmind import storage


def test_every_name_in_the_stub_is_exported() -> None:
    assert vars(storage)["__all__"] == dir(storage)
    for name in dir(storage):
        assert getattr(storage, name).__name__ == name


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'airflow_provider_segmind.storage' has no attribute 'no_such'"):
        storage.no_such  # type: ignore[attr-defined]  # noqa: B018


def test_a_name_is_imported_when_it_is_first_used() -> None:
    code = """
import sys
from airflow_provider_segmind import storage
assert not [name for name in sys.modules if name.startswith("airflow_provider_segmind.storage.")]
from airflow_provider_segmind.storage import object_path
assert "airflow_provider_segmind.storage.paths" in sys.modules
assert "airflow_provider_segmind.storage.outputs" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
