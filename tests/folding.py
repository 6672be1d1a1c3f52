"""Stores that fold names, as the disks of Windows and macOS do."""

from __future__ import annotations

import importlib
import unicodedata
from typing import Any, ClassVar

import pytest
from fsspec.implementations.memory import MemoryFileSystem


class FoldingFileSystem(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Takes names for one that differ in case or in the Unicode form."""

    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    protocol = ("memory",)
    folds_case = True
    folds_form = True

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        name = str(super()._strip_protocol(path))
        name = unicodedata.normalize("NFC", name) if cls.folds_form else name
        return name.lower() if cls.folds_case else name


class CaseFolding(FoldingFileSystem):
    """Folds case only."""

    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    folds_form = False


class FormFolding(FoldingFileSystem):
    """Folds the Unicode form only."""

    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    folds_case = False


def use_for_memory(monkeypatch: pytest.MonkeyPatch, kind: type[FoldingFileSystem]) -> FoldingFileSystem:
    """Let ``memory://`` be an empty filesystem of this kind during one test."""
    try:
        stores: Any = importlib.import_module("airflow.sdk.io.store")
    except ImportError:  # Airflow 2
        stores = importlib.import_module("airflow.io.store")
    found = kind(skip_instance_cache=True)
    found.store.clear()
    monkeypatch.setitem(stores._STORE_CACHE, "memory", stores.ObjectStore(protocol="memory", conn_id=None, fs=found))
    return found
