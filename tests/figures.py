"""
Figures of the code: how many places a change touches. ``make figures``, or ``python -m tests.figures [--root …]``.

A place is a line of the package, without the emulator, that names what changes, or states it in a docstring. ``--root``
compares with another checkout, such as an older one.
"""

from __future__ import annotations

import argparse
import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

from tests import words

ROOT = Path(__file__).parents[1]
PACKAGE = "airflow_provider_segmind"
OPERATORS = ("operators", "sensors", "transfers", "decorators", "triggers", "plugins", "cli", "links")
#: Base classes that are Airflow's.
LARGEST_FILE, LARGEST_FUNCTION = 350, 40


class Package:
    """The package in one checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root / PACKAGE
        self.files = sorted(path for path in self.root.rglob("*.py") if "emulator" not in path.parts)
        self.trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in self.files}

    def places(self, pattern: str, *suffixes: str) -> dict[str, int]:
        """Lines that match, by file."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            if path.suffix in (suffixes or (".py",)) and "emulator" not in path.parts:
                lines = sum(bool(re.search(pattern, line)) for line in path.read_text(encoding="utf-8").splitlines())
                if lines:
                    found[str(path.relative_to(self.root))] = lines
        return found

    def argument(self, name: str) -> dict[str, int]:
        """Lines in which an argument of operators has to be written: where it is declared, documented, passed on."""
        rooms = (*OPERATORS[:4], "execution/options", "execution/arguments", "protocol/models", "protocol/parameters")
        return {file: count for file, count in self.places(rf"\b{name}\b").items() if file.startswith(rooms)}

    def functions(self) -> Iterator[tuple[str, int]]:
        """Name and length in lines of each function."""
        for path, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    length = (node.end_lineno or node.lineno) - node.lineno + 1
                    yield f"{path.relative_to(self.root)}:{node.name}", length - _signature_and_docstring(node)

    def depths(self) -> dict[str, int]:
        """How many classes of our own stand between each public operator and Airflow's, itself included."""
        classes = {
            node.name: [ast.unparse(base).rpartition(".")[2] for base in node.bases]
            for tree in self.trees.values()
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
        }

        def depth(name: str) -> int:
            return 1 + max((depth(base) for base in classes[name] if base != name), default=0) if name in classes else 0

        return {name: depth(name) for name in classes if name.endswith("Operator") and not name.startswith("_")}

    def sibling_imports(self) -> int:
        """How many imports of operators/ the other rooms have."""
        return sum(
            isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}.operators")
            for path, tree in self.trees.items()
            if path.relative_to(self.root).parts[0] != "operators"
            for node in ast.walk(tree)
        )


def _signature_and_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    if ast.get_docstring(node) is None:
        return first.lineno - node.lineno
    return (first.end_lineno or first.lineno) + 1 - node.lineno


def _shown(places: dict[str, int]) -> str:
    return f"{sum(places.values())} in {len(places)} files"


def figures(root: Path) -> dict[str, str]:
    """The figures of a checkout."""
    package = Package(root)
    lengths = dict(package.functions())
    trigger = package.places(r"\bqueue_timeout\b")
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in package.files}
    readme = (root / "README.md").read_text(encoding="utf-8")
    return {
        "places of an argument of one operator (preserve_alpha)": _shown(package.argument("preserve_alpha")),
        "places of an argument of many operators (max_bytes)": _shown(package.argument("max_bytes")),
        "places of an argument of a trigger (queue_timeout)": str(trigger.get("triggers/segmind.py", 0)),
        "files that name one model (nomos)": str(len(package.places(r"(?i)nomos", ".py", ".js", ".html"))),
        "own classes above BaseOperator, at most": str(max(package.depths().values())),
        "imports of operators/ by its siblings": str(package.sibling_imports()),
        f"files above {LARGEST_FILE} lines": str(sum(size > LARGEST_FILE for size in sizes.values())),
        f"functions above {LARGEST_FUNCTION} lines": str(sum(length > LARGEST_FUNCTION for length in lengths.values())),
        "lines of a function, median": f"{statistics.median(lengths.values()):g}",
        "lines of the package": str(sum(sizes.values())),
        "lines of the README": str(len(readme.splitlines())),
        "retired words": str(sum(1 for path in words.files(root=root) for _ in words.retired_in(path, root=root))),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="another checkout (default: this one)")
    for name, value in figures(parser.parse_args().root).items():
        print(f"{name:60} {value}")


if __name__ == "__main__":
    main()
