"""The modules of the package and their imports, read from the source with ``ast``."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "airflow_provider_segmind"
SOURCES = sorted((ROOT / PACKAGE).rglob("*.py"))


def module_name(path: Path) -> str:
    """Return ``hooks.segmind`` for ``…/hooks/segmind.py``; ``__init__.py`` has its package's name, the root ""."""
    parts = list(path.relative_to(ROOT / PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@functools.cache
def type_checking_lines(path: Path) -> frozenset[int]:
    """Return the lines under ``if TYPE_CHECKING:``."""
    return frozenset(
        line
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for part in node.body
        for line in range(part.lineno, (part.end_lineno or part.lineno) + 1)
    )


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the full name of everything that a file imports, absolutely or relatively."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(parts[: -node.level]) if node.level else ""
            module = ".".join(filter(None, [base, node.module]))
            for alias in node.names:
                inside = f"{module}.{alias.name}".removeprefix(f"{PACKAGE}.")
                yield node.lineno, f"{PACKAGE}.{inside}" if inside in MODULES else module


def own_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the imports of the package itself, by the names in ``MODULES``."""
    for line, name in imports(path):
        if name == PACKAGE or name.startswith(f"{PACKAGE}."):
            yield line, name.removeprefix(PACKAGE).removeprefix(".")


def reachable(module: str) -> set[str]:
    """Return every module of the package that the import of this one imports, or names the types of, at any depth."""
    found: set[str] = set()
    todo = [module]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [other for _, other in own_imports(MODULES[name])]
    return found


def location(path: Path, line: int) -> str:
    """Return ``path:line``, relative to the repository."""
    return f"{path.relative_to(ROOT)}:{line}"
