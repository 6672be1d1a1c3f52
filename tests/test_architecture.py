"""
The rooms of the package, and which room may import which.

Every import counts: at the top, inside a function, and under ``TYPE_CHECKING`` (whoever changes a type has to check the
modules that name it). Inside a room, two files may name each other's types.
"""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter

import pytest

from tests.source_tree import (
    MODULES,
    PACKAGE,
    imports,
    location,
    own_imports,
    reachable,
    tree_of,
    type_checking_lines,
)

#: Room -> the rooms it may import from, besides itself. A room is a module or a package; the longest name wins.
#: Every room may import ``exceptions`` and the version. A new room must be added here.
BELOW = ("protocol",)
HOOKS = (*BELOW, "compat", "jitter", "retry_budget", "client", "hooks")
EXECUTION = (*HOOKS, "polling", "telemetry", "storage", "lineage", "execution")
TASKS = (*EXECUTION, "runtime", "triggers", "links")
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
    "storage": HOOKS,
    "lineage": (*HOOKS, "storage"),
    "links": (*HOOKS, "storage"),
    "execution": (*HOOKS, "polling", "telemetry", "storage", "lineage"),
    "retry_policy": ("compat",),
    "runtime": (*EXECUTION, "retry_policy"),
    "triggers": EXECUTION,
    "operators": TASKS,
    "sensors": TASKS,
    "transfers": TASKS,
    "decorators": (*TASKS, "operators"),
    "plugins": TASKS,
    "cli": (*TASKS, "operators", "emulator"),
    "__main__": ("cli",),
    "emulator": (),
}
OPEN_TO_ALL = {"", "exceptions", "lazy_imports", "airflow_version"}

#: Modules without input or output; a pure room may import no others.
PURE = {
    "__future__", "base64", "binascii", "collections", "collections.abc", "contextlib", "dataclasses", "datetime",
    "decimal", "email.utils", "enum", "fnmatch", "functools", "hashlib", "heapq", "html", "ipaddress", "itertools",
    "json", "math", "pendulum", "pydantic", "re", "string", "struct", "types", "typing", "typing_extensions",
    "urllib.parse", "uuid",
}  # fmt: skip
#: The modules of ``execution/`` that the simulator runs unchanged. The others implement the ports.
#: Modules outside of ``protocol/`` that are pure as well.
PURE_POLLING = ("polling.durations", "polling.loop", "polling.schedule")
ENGINE = ("batch", "engine", "ports", "record", "recover", "resolve", "single", "submit", "want", "waves")
#: Rooms that the engine reaches through its ports only.
BEHIND_PORTS = {"hooks", "client", "polling", "storage", "compat", "retry_budget"}
#: Calls that read a clock, draw a random value or do input and output, although their module is in ``PURE``.
IMPURE_CALLS = re.compile(r"\b(now|utcnow|today|uuid1|uuid4|open|input|print)$")


def room_of(module: str) -> str:
    """Return the longest room name that a module's name begins with."""
    fitting = [room for room in ROOMS if module == room or (room and module.startswith(f"{room}."))]
    assert fitting, f"{module} is in no room: add its room to ROOMS, with the rooms that it may import"
    return max(fitting, key=len)


def test_the_reader_of_imports_finds_every_form() -> None:
    assert {"client.driver", "protocol.calls", "operators.segmind", "emulator.app"} <= set(MODULES)
    named = dict(own_imports(MODULES["client.driver"]))
    assert "protocol.calls" in named.values()  # `from a.b import name`
    assert "records" not in named.values()
    relative = {name for _, name in own_imports(MODULES["emulator.server"])}
    assert {"emulator.app", "emulator.records"} <= relative  # relative imports, and imports for types only


def test_imports_follow_the_table_of_rooms() -> None:
    wrong = []
    for module, path in MODULES.items():
        room = room_of(module)
        for line, name in own_imports(path):
            target = room_of(name)
            if target != room and target not in OPEN_TO_ALL and target not in ROOMS[room]:
                wrong.append(f"{location(path, line)}: {room or 'the package'} imports {name}")
    assert wrong == []


def test_no_module_imports_itself_through_others() -> None:
    graph = {
        module: {name for line, name in own_imports(path) if line not in type_checking_lines(path)}
        for module, path in MODULES.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules


def test_the_table_of_rooms_has_no_cycle() -> None:
    TopologicalSorter(ROOMS).prepare()


def test_the_version_imports_nothing() -> None:
    assert [name for _, name in imports(MODULES[""]) if name != "__future__"] == []


def test_only_the_client_imports_an_http_library() -> None:
    users = {
        module
        for module, path in MODULES.items()
        for _, name in imports(path)
        if name.partition(".")[0] in {"httpx", "httpx_aiohttp", "httpcore", "requests", "aiohttp", "urllib3"}
        or name == "urllib.request"
    }
    assert {room_of(module) for module in users} <= {"client", "emulator"}
    assert "client.driver" in users


def test_the_emulator_imports_nothing_of_the_package() -> None:
    """The emulator is an independent peer: a mistake in shared code would be invisible to the tests."""
    for module, path in MODULES.items():
        if room_of(module) == "emulator":
            for line, name in own_imports(path):
                assert room_of(name) == "emulator", location(path, line)
            for line, name in imports(path):
                assert name.partition(".")[0] != "airflow", location(path, line)


@pytest.mark.parametrize("module", [*(name for name in MODULES if room_of(name) == "protocol"), *PURE_POLLING])
def test_protocol_and_poll_loop_are_pure(module: str) -> None:
    path = MODULES[module]
    for line, name in imports(path):
        assert name in PURE or name.startswith(f"{PACKAGE}."), f"{location(path, line)} imports {name}"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert not IMPURE_CALLS.search(called), f"{location(path, node.lineno)} calls {called}"


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) == "execution"])
def test_execution_does_not_use_operators(module: str) -> None:
    """Execution is plain classes; operators, sensors and triggers hold arguments and call them."""
    path = MODULES[module]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom | ast.Import):
            taken = {alias.name.rpartition(".")[2] for alias in node.names}
            assert not any(name.endswith(("Operator", "OperatorLink", "Trigger", "Context")) for name in taken), module
    for line, name in imports(path):
        if name.partition(".")[0] == "airflow":
            assert name == "airflow.providers.common.compat.sdk", f"{location(path, line)} imports {name}"
            assert line in type_checking_lines(path), f"{location(path, line)}: Airflow is imported for types only"


@pytest.mark.parametrize("module", ENGINE)
def test_the_engine_does_input_and_output_through_its_ports(module: str) -> None:
    """The engine reads no clock, does not sleep and opens no socket, so the simulator can run it unchanged."""
    path = MODULES[f"execution.{module}"]
    for line, name in imports(path):
        assert name in PURE | {"logging"} or name.startswith(PACKAGE), f"{location(path, line)} imports {name}"
    reached = reachable(f"execution.{module}")
    assert not {room_of(name) for name in reached} & BEHIND_PORTS, sorted(reached)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            clock = called.endswith(("clock.now", "clock.sleep"))
            assert clock or not re.search(r"\b(sleep|time|monotonic)$", called), (
                f"{location(path, node.lineno)}: {called}"
            )
            assert clock or not IMPURE_CALLS.search(called) or called == "self._segmind.open", (
                f"{location(path, node.lineno)} calls {called}"
            )
