"""
Lazy exports: public names of a module that are imported when they are first used (PEP 562, SPEC 1).

The public names of a module ``x.py`` are listed once, as imports in the stub ``x.pyi`` beside it:
``from package.module import Name as Name``. Editors, mypy and the module itself read the stub.

Every task process and the DAG processor pay for imports: all of ``storage`` takes 14 ms.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


def lazy_exports(name: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """
    Return ``__getattr__``, ``__dir__`` and ``__all__`` of a module that exports the names in its stub.

    :param name: the module's ``__name__``.
    :param file: the module's ``__file__``; the stub is the ``.pyi`` file beside it.
    """
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    homes = {alias.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}

    def get(attribute: str) -> Any:
        if (home := homes.get(attribute)) is None:
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
        return getattr(importlib.import_module(home), attribute)

    return get, lambda: sorted(homes), sorted(homes)
