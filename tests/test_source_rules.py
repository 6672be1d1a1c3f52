"""Rules for every source file: its length, its docstrings, constructs that are forbidden, traces of a machine."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source_tree import PACKAGE, ROOT, SOURCES, location, module_name, tree_of

LONGEST_FILE = 350  # lines


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / PACKAGE)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


# --- forbidden constructs -------------------------------------------------------------------------------------------


def test_the_package_contains_no_forbidden_construct() -> None:
    found = [
        f"{location(path, getattr(node, 'lineno', 0))}: {why}"
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if (why := forbidden(node))
    ]
    assert found == []


def forbidden(node: ast.AST) -> str | None:
    """Return why the package must not contain this construct; None if it may."""
    if isinstance(node, ast.Assert):
        return "python -O removes an assert: raise an error of this package"
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        if called == "print":
            return "print: a task logs"
        if called.rpartition(".")[2] == "suppress" and {"Exception", "BaseException"} & names_of(*node.args):
            return "suppress(Exception) hides defects"
    if isinstance(node, ast.ExceptHandler):
        everything = node.type is None or bool({"Exception", "BaseException"} & names_of(node.type))
        if everything and all(isinstance(line, ast.Pass | ast.Continue) for line in node.body):
            return "every exception is dropped without a log line"
    if isinstance(node, ast.Raise) and node.exc is not None:
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        if ast.unparse(raised).rpartition(".")[2] in {"AirflowException", "Exception", "BaseException"}:
            return "raise an error of this package: its class decides whether a retry helps"
    return None


def names_of(*nodes: ast.expr) -> set[str]:
    """Return every name in these expressions."""
    return {part.id for node in nodes for part in ast.walk(node) if isinstance(part, ast.Name)}


@pytest.mark.parametrize(
    "code",
    [
        "assert x",
        "print(1)",
        "try:\n    x()\nexcept Exception:\n    pass",
        "try:\n    x()\nexcept:\n    pass",
        "try:\n    x()\nexcept (OSError, Exception):\n    pass",
        "with suppress(Exception):\n    x()",
        "raise AirflowException('no')",
        "raise exceptions.AirflowException",
    ],
)
def test_each_forbidden_construct_is_found(code: str) -> None:
    assert any(forbidden(node) for node in ast.walk(ast.parse(code)))


# --- docstrings -----------------------------------------------------------------------------------------------------


def test_everything_public_has_a_docstring() -> None:
    missing = []
    for path in SOURCES:
        tree = tree_of(path)
        if not ast.get_docstring(tree):
            missing.append(str(path.relative_to(ROOT)))
        for node, name in public(tree):
            if "." in name and module_name(path).partition(".")[0] == "emulator":
                continue  # the emulator is a test double, and some of its methods are asyncio's callbacks
            if not ast.get_docstring(node):
                missing.append(f"{location(path, node.lineno)} {name}")
    assert missing == []


def public(
    parent: ast.Module | ast.ClassDef, prefix: str = ""
) -> Iterator[tuple[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    """Yield the public classes, functions and methods; not those that are local to a function."""
    for node in parent.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node, prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from public(node, f"{prefix}{node.name}.")


# --- traces of a machine --------------------------------------------------------------------------------------------


def project_files() -> list[Path]:
    """Return what git tracks or would add; without git (a source distribution), all but hidden files and caches."""
    git = shutil.which("git")
    if git and (ROOT / ".git").exists():
        done = subprocess.run(
            [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        )
        return [ROOT / os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file() and not any(part.startswith((".", "__")) for part in path.relative_to(ROOT).parts[:-1])
    ]


def test_no_file_names_a_developers_machine() -> None:
    """Nobody else can use a directory of one machine or the address of its package index."""
    traces = re.compile(
        r"(?<![\w.])/(?:work|root|home|Users)/[\w.]"  # a path of a machine, not part of a URL
        r"|--(?:extra-)?index-url|PIP_(?:EXTRA_)?INDEX_URL|https?://[^\s\"']*/simple\b"
    )
    found = []
    for path in project_files():
        if path == Path(__file__) or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # an image
        for number, line in enumerate(text.splitlines(), 1):
            if traces.search(line):
                found.append(f"{location(path, number)}: {line.strip():.100}")
    assert found == []
