"""
The rooms of the package and the arrows between them, read from the source with ``ast``.

Every import counts: at the top, inside a function (late, to be cheap) and under ``TYPE_CHECKING`` (a type from above
is a dependency, too: whoever changes it has to look here). Within a room, two files may name each other's types.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.airflow_versions import needs_todays_imports

ROOT = Path(__file__).parents[1]
PACKAGE = "airflow_provider_segmind"
SOURCES = sorted((ROOT / PACKAGE).rglob("*.py"))
LONGEST_FILE = 350  # lines

#: Room -> the rooms it may import from, besides itself. A room is a module or a package; the longest name wins.
#: ``exceptions`` and the version are open to all. A new room has to be put in here.
BELOW = ("protocol",)
HOOKS = (*BELOW, "compat", "jitter", "retry_budget", "client", "hooks")
SERVICES = (
    *HOOKS,
    "polling",
    "telemetry",
    "triggers",
    "execution",
    "storage",
    "lineage",
    "links",
    "operators.common",
)
ROOMS: dict[str, tuple[str, ...]] = {
    "": (),
    "exceptions": (),
    "lazy_imports": (),
    "airflow_version": (),
    "compat": (),
    "get_provider_info": (),
    "protocol": (),
    "jitter": (),
    "retry_budget": (*BELOW, "jitter"),
    "client": (*BELOW, "retry_budget"),
    "hooks": (*BELOW, "retry_budget", "client"),
    "polling": (*BELOW, "jitter", "retry_budget", "client", "hooks"),
    "telemetry": BELOW,
    "execution": (*HOOKS, "polling", "telemetry", "storage", "lineage"),
    "triggers": (*HOOKS, "polling", "telemetry", "execution"),
    "retry_policy": ("compat",),
    "storage": HOOKS,
    "lineage": (*HOOKS, "storage"),
    "links": (*HOOKS, "storage"),
    "operators.common": (*HOOKS, "execution", "storage", "retry_policy"),
    "operators.credits": (*HOOKS, "operators.common"),
    "operators": (*SERVICES, "operators.credits", "retry_policy"),
    "sensors": (*SERVICES, "operators.credits"),
    "transfers": SERVICES,
    "decorators": (*SERVICES, "operators"),
    "plugins": SERVICES,
    "cli": (*SERVICES, "operators", "emulator"),
    "__main__": ("cli",),
    "emulator": (),
}
OPEN_TO_ALL = {"", "exceptions", "lazy_imports", "airflow_version"}

#: What the pure part may import: it computes, and does nothing else.
PURE = {
    "__future__", "base64", "binascii", "collections", "collections.abc", "contextlib", "dataclasses", "datetime",
    "decimal", "email.utils", "enum", "fnmatch", "functools", "hashlib", "heapq", "html", "ipaddress", "itertools",
    "json", "math", "pendulum", "pydantic", "re", "string", "struct", "types", "typing", "typing_extensions",
    "urllib.parse", "uuid",
}  # fmt: skip
#: Modules outside of ``protocol/`` that are pure as well.
PURE_POLLING = ("polling.durations", "polling.loop", "polling.schedule")
#: The engine: what of ``execution/`` runs in the simulator's world as it is. The rest is what the ports are made of.
ENGINE = ("batch", "engine", "ports", "record", "recover", "resolve", "single", "submit", "want", "waves")
#: Rooms behind the engine's ports.
BEHIND_PORTS = {"hooks", "client", "polling", "storage", "compat", "retry_budget"}
#: Ways to read a clock or to draw lots that hide in modules which are pure otherwise.
IMPURE_CALLS = re.compile(r"\b(now|utcnow|today|uuid1|uuid4|open|input|print)$")


def module_name(path: Path) -> str:
    """``hooks.segmind`` for ``…/hooks/segmind.py``; a package goes by its own name, the root by ''."""
    parts = list(path.relative_to(ROOT / PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in SOURCES}


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@functools.cache
def lines_for_types(path: Path) -> frozenset[int]:
    """The lines under ``if TYPE_CHECKING:``."""
    return frozenset(
        line
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for part in node.body
        for line in range(part.lineno, (part.end_lineno or part.lineno) + 1)
    )


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a file imports, whichever way it is written."""
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
    """The imports of the package itself, by names as in ``MODULES``."""
    for line, name in imports(path):
        if name == PACKAGE or name.startswith(f"{PACKAGE}."):
            yield line, name.removeprefix(PACKAGE).removeprefix(".")


def room_of(module: str) -> str:
    """The longest room name that a module's name begins with."""
    fitting = [room for room in ROOMS if module == room or (room and module.startswith(f"{room}."))]
    assert fitting, f"{module} is in no room: add one to ROOMS, and say what it may import"
    return max(fitting, key=len)


def where(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_there_is_something_to_check() -> None:
    assert {"client.driver", "protocol.calls", "operators.segmind", "emulator.app"} <= set(MODULES)
    named = dict(own_imports(MODULES["client.driver"]))
    assert "protocol.calls" in named.values()  # `from a.b import name` is read
    assert "records" not in named.values()
    relative = {name for _, name in own_imports(MODULES["emulator.server"])}
    assert {"emulator.app", "emulator.records"} <= relative  # and so are relative ones, and those for types only


def test_arrows_point_one_way() -> None:
    wrong = []
    for module, path in MODULES.items():
        room = room_of(module)
        for line, name in own_imports(path):
            target = room_of(name)
            if target != room and target not in OPEN_TO_ALL and target not in ROOMS[room]:
                wrong.append(f"{where(path, line)}: {room or 'the package'} imports {name}")
    assert wrong == []


def test_no_circles() -> None:
    graph = {
        module: {name for line, name in own_imports(path) if line not in lines_for_types(path)}
        for module, path in MODULES.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_the_table_of_rooms_has_no_circle() -> None:
    TopologicalSorter(ROOMS).prepare()


def test_the_version_imports_nothing() -> None:
    assert [name for _, name in imports(MODULES[""]) if name != "__future__"] == []


def test_only_the_client_knows_httpx() -> None:
    users = {
        module
        for module, path in MODULES.items()
        for _, name in imports(path)
        if name.partition(".")[0] in {"httpx", "httpx_aiohttp", "httpcore", "requests", "aiohttp", "urllib3"}
        or name == "urllib.request"
    }
    assert {room_of(module) for module in users} <= {"client", "emulator"}
    assert "client.driver" in users


def test_the_emulator_stands_alone() -> None:
    """An independent peer: what it shared with the package, both could have wrong."""
    for module, path in MODULES.items():
        if room_of(module) == "emulator":
            for line, name in own_imports(path):
                assert room_of(name) == "emulator", where(path, line)
            for line, name in imports(path):
                assert name.partition(".")[0] != "airflow", where(path, line)


@pytest.mark.parametrize("module", [*(name for name in MODULES if room_of(name) == "protocol"), *PURE_POLLING])
def test_protocol_and_poll_loop_are_pure(module: str) -> None:
    path = MODULES[module]
    for line, name in imports(path):
        assert name in PURE or name.startswith(f"{PACKAGE}."), f"{where(path, line)} imports {name}"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert not IMPURE_CALLS.search(called), f"{where(path, node.lineno)} calls {called}"


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) == "execution"])
def test_execution_knows_no_operator(module: str) -> None:
    """What a task does is plain classes; operators, sensors and triggers hold arguments and call them."""
    path = MODULES[module]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom | ast.Import):
            taken = {alias.name.rpartition(".")[2] for alias in node.names}
            assert not any(name.endswith(("Operator", "OperatorLink", "Trigger", "Context")) for name in taken), module
    for line, name in imports(path):
        if name.partition(".")[0] == "airflow":
            assert name == "airflow.providers.common.compat.sdk", f"{where(path, line)} imports {name}"
            assert line in lines_for_types(path), f"{where(path, line)}: Airflow is imported for types only"


@pytest.mark.parametrize("module", ENGINE)
def test_the_engine_reaches_the_world_through_its_ports(module: str) -> None:
    """No clock, no sleep, no socket, no storage: the simulator runs this very code."""
    path = MODULES[f"execution.{module}"]
    for line, name in imports(path):
        assert name in PURE | {"logging"} or name.startswith(PACKAGE), f"{where(path, line)} imports {name}"
    reached = reachable(f"execution.{module}")
    assert not {room_of(name) for name in reached} & BEHIND_PORTS, sorted(reached)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            clock = called.endswith(("clock.now", "clock.sleep"))
            assert clock or not re.search(r"\b(sleep|time|monotonic)$", called), f"{where(path, node.lineno)}: {called}"
            assert clock or not IMPURE_CALLS.search(called) or called == "self._segmind.open", (
                f"{where(path, node.lineno)} calls {called}"
            )


def reachable(module: str) -> set[str]:
    """Every module of the package that the import of one imports, or names the types of, at any depth."""
    found, todo = set(), [module]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [other for _, other in own_imports(MODULES[name])]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT / PACKAGE)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def test_nothing_forbidden_in_the_package() -> None:
    found = [
        f"{where(path, getattr(node, 'lineno', 0))}: {why}"
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if (why := forbidden(node))
    ]
    assert found == []


def forbidden(node: ast.AST) -> str | None:
    """Why a piece of code must not stand in the package, or None."""
    if isinstance(node, ast.Assert):
        return "an assert is gone under python -O: raise an error of ours"
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        if called == "print":
            return "print: a task logs"
        if called.rpartition(".")[2] == "suppress" and {"Exception", "BaseException"} & names_of(*node.args):
            return "suppress(Exception) hides defects"
    if isinstance(node, ast.ExceptHandler):
        everything = node.type is None or bool({"Exception", "BaseException"} & names_of(node.type))
        if everything and all(isinstance(line, ast.Pass | ast.Continue) for line in node.body):
            return "an exception of any kind is dropped without a word"
    if isinstance(node, ast.Raise) and node.exc is not None:
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        if ast.unparse(raised).rpartition(".")[2] in {"AirflowException", "Exception", "BaseException"}:
            return "raise an error of ours, whose class says what to do"
    return None


def names_of(*nodes: ast.expr) -> set[str]:
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
def test_the_forbidden_is_found(code: str) -> None:
    assert any(forbidden(node) for node in ast.walk(ast.parse(code)))


def test_everything_public_has_a_docstring() -> None:
    bare = []
    for path in SOURCES:
        tree = tree_of(path)
        if not ast.get_docstring(tree):
            bare.append(str(path.relative_to(ROOT)))
        for node, name in public(tree):
            if "." in name and room_of(module_name(path)) == "emulator":
                continue  # methods of a test double may speak for themselves, and some are asyncio's callbacks
            if not ast.get_docstring(node):
                bare.append(f"{where(path, node.lineno)} {name}")
    assert bare == []


def public(
    parent: ast.Module | ast.ClassDef, prefix: str = ""
) -> Iterator[tuple[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, str]]:
    """Public classes, functions and methods; not what is local to a function."""
    for node in parent.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node, prefix + node.name
            if isinstance(node, ast.ClassDef):
                yield from public(node, f"{prefix}{node.name}.")


#: What both need first is imported once; then a fork of the process imports each module.
IMPORTS = """
    import json, os, sys

    import airflow.sdk
    import airflow.providers.common.compat.sdk as compat

    modules, names = sys.argv[1].split(), sys.argv[2:]
    for name in names:
        getattr(compat, name, None)  # an older Airflow lacks some
    import airflow.providers.common.compat.connection

    before = set(sys.modules)
    for module in modules:
        if os.fork() == 0:
            __import__(module)
            print("FOUND", module, json.dumps(sorted(set(sys.modules) - before)), flush=True)
            os._exit(0)
        assert os.wait()[1] == 0, module
"""
OPERATORS = (
    "operators.segmind",
    "sensors.segmind",
    "decorators.segmind",
    "transfers.segmind_to_object_storage",
    "hooks.segmind",
)
TRIGGER = "triggers.segmind"


def names_from_compat(modules: list[str]) -> list[str]:
    """What these modules of ours take from ``common.compat.sdk``, which loads each name's home when asked for it."""
    return sorted(
        {
            alias.name
            for module in modules
            for top in tree_of(MODULES[module]).body
            for node in (top.body if isinstance(top, ast.If) else [top])
            if isinstance(node, ast.ImportFrom) and node.module == "airflow.providers.common.compat.sdk"
            if node.lineno not in lines_for_types(MODULES[module])
            for alias in node.names
        }
    )


@functools.cache
def imported() -> dict[str, list[str]]:
    """What the import of each of these modules adds to what Airflow has loaded, by module."""
    modules = [f"{PACKAGE}.{module}" for module in (*OPERATORS, TRIGGER)]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(IMPORTS), " ".join(modules), *names_from_compat(list(MODULES))],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ", 2) for line in done.stdout.splitlines() if line.startswith("FOUND ")]
    found = {module: json.loads(names) for _, module, names in lines}
    assert all(module in found[module] for module in modules)
    return {module.removeprefix(f"{PACKAGE}."): names for module, names in found.items()}


@needs_todays_imports
@pytest.mark.parametrize("module", OPERATORS)
def test_importing_adds_nothing_but_ourselves(module: str) -> None:
    """The DAG processor imports the operators for every DAG file: nothing beyond what Airflow's own two load."""
    added = imported()[module]
    assert [name for name in added if not name.startswith(PACKAGE)] == []
    assert not any(name.startswith((f"{PACKAGE}.emulator", f"{PACKAGE}.client")) for name in added)


@needs_todays_imports
def test_importing_the_trigger_is_cheap() -> None:
    """It needs Airflow's trigger module; a triggerer has that already."""
    heavy = {"PIL", "starlette", "uvicorn", "httpx", "aiohttp", "fastapi", "sqlalchemy", "s3fs", "boto3", "fsspec"}
    assert {name for name in imported()[TRIGGER] if name.partition(".")[0] in heavy} == set()


def project_files() -> list[Path]:
    """What git has or would take; without git (a source distribution), every file but hidden ones and caches."""
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


def test_nothing_of_the_machine_it_was_made_on() -> None:
    """No directory of somebody's machine, no package index: they say nothing to those who read them."""
    traces = re.compile(
        r"(?<![\w.])/(?:work|root|home|Users)/[\w.]"  # a path of somebody's machine, not part of a URL
        r"|--(?:extra-)?index-url|PIP_(?:EXTRA_)?INDEX_URL|https?://[^\s\"']*/simple\b"
    )
    found = []
    for path in project_files():
        if path == Path(__file__) or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        for number, line in enumerate(text.splitlines(), 1):
            if traces.search(line):
                found.append(f"{where(path, number)}: {line.strip():.100}")
    assert found == []
