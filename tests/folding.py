"""A store that folds names, as the disks of Windows and macOS do; and one that folds nothing."""

from __future__ import annotations

import unicodedata
from typing import Any, ClassVar

from fsspec.implementations.memory import MemoryFileSystem


class FoldingFileSystem(MemoryFileSystem):
    """Takes names for one that differ in case or in the Unicode form, and keeps the first spelling nowhere."""

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
