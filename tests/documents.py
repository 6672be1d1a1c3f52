"""The blocks of code in README.md and the pages of docs/, and checks of the commands that they show."""

from __future__ import annotations

import io
import re
import shlex
import signal
import sys
import tomllib
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement

from tests.cli.terminal import environment, started

if TYPE_CHECKING:
    from airflow_provider_segmind.emulator import Emulator

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NAME = PYPROJECT["project"]["name"]
DOCUMENTS = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts),
]
FENCE = re.compile(r"^(?P<fence>`{3,}|~{3,})[ ]*(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=fence)[ ]*$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, and what is in it."""

    document: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)} line {self.line} ({self.language or 'no language'})"

    @property
    def file(self) -> str | None:
        """The name of the file that the block is, from a first line such as ``# dags/thumbnails.py``."""
        found = re.match(r"# ([\w./-]+\.py)\n", self.text)
        return found[1] if found else None

    @property
    def is_dag(self) -> bool:
        return self.language == "python" and re.search(r"\bDAG\(|^@dag\b", self.text, re.M) is not None

    @property
    def is_test(self) -> bool:
        return self.language == "python" and re.search(r"^def test_", self.text, re.M) is not None


def blocks_of(document: Path) -> list[Block]:
    """Return every block of a document except directives of Sphinx, which checks them itself."""
    text = document.read_text(encoding="utf-8")
    found = [
        Block(document, text.count("\n", 0, fence.start()) + 1, fence["language"].strip(), fence["text"])
        for fence in FENCE.finditer(text)
    ]
    assert text.count("\n```") + text.startswith("```") == 2 * len(found), f"{document}: a block was missed"
    return [block for block in found if not block.language.startswith("{")]


#: Those of the terminal's page are run by tests/cli/test_docs.py.
BLOCKS = [block for document in DOCUMENTS if document.name != "cli.md" for block in blocks_of(document)]
#: A page with files that belong together, and a ``pytest`` that runs them.
PROJECTS = sorted(
    {block.document for block in BLOCKS if block.language == "bash" and re.search(r"^pytest\b", block.text, re.M)}
)


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def alone() -> list[Block]:
    """Return the blocks of Python that are not a file of a project."""
    return [block for block in of("python") if not (block.file and block.document in PROJECTS)]


def commands() -> list[Any]:
    """Return every command line, as a parameter of a test."""
    found = []
    for block in of("bash"):
        text = block.text.replace("\\\n", "  ")
        for number, line in enumerate(text.splitlines(), block.line + 1):
            parts = shlex.split(line, comments=True)
            if parts:
                where = f"{block.document.relative_to(ROOT)} line {number}"
                found.append(pytest.param(parts, id=f"{where}: {line.strip()[:50]}"))
    return found


# --- checks of a command ----------------------------------------------------------------------------------------


def check_make(parts: list[str]) -> None:
    """Check that the targets exist and the variables are read."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([\w-]+):(?!=)", makefile, re.M))
    assert {word for word in parts if "=" not in word} <= known
    variables = {word.partition("=")[0] for word in parts if "=" in word}
    assert all(re.search(rf"\$\({variable}\)|\b{variable}\b", makefile) for variable in variables)


def check_requirement(text: str) -> None:
    """Check that it is ours with extras that exist, or that the development set-up has it."""
    requirement = Requirement(text)
    if requirement.name == NAME:
        assert requirement.extras <= set(PYPROJECT["project"]["optional-dependencies"])
    else:
        assert metadata.version(requirement.name) in requirement.specifier


def check_environment(assignment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that Airflow or the hook reads the variable, and accepts the value."""
    from airflow_provider_segmind.hooks.segmind import SegmindHook

    name, _, value = assignment.partition("=")
    monkeypatch.setenv(name, value)
    if name == "SEGMIND_API_KEY":
        assert SegmindHook(None).settings.api_key.get_secret_value() == value
    elif name.startswith("AIRFLOW_CONN_"):
        conn_id = name.removeprefix("AIRFLOW_CONN_").lower()
        connection = SegmindHook.get_connection(conn_id)
        if connection.conn_type == "segmind":
            assert SegmindHook(conn_id).settings.api_key.get_secret_value() == connection.password
        else:
            assert connection.get_hook() is not None
    elif name.startswith("SEGMIND_"):
        source = (ROOT / "airflow_provider_segmind").rglob("*.py")
        assert any(f'"{name}"' in file.read_text(encoding="utf-8") for file in source), f"who reads {name}?"
    else:
        from airflow.configuration import conf

        section, _, option = name.removeprefix("AIRFLOW__").lower().partition("__")
        assert conf.get(section, option) == value, f"who reads {name}?"


def check_emulator(arguments: list[str], folder: Path) -> None:
    """Check that it starts with these arguments, and responds; the port is a free one."""
    import httpx

    parts = shlex.split(re.sub(r"--port[= ]\d+", "--port 0", shlex.join(arguments)))
    program = (sys.executable, "-m", "airflow_provider_segmind.emulator")
    with started(*parts, cwd=folder, env=environment(folder), program=program) as emulator:
        url = emulator.match(r"^Segmind emulator on (http://\S+)")[1]
        response = httpx.get(f"{url}/v1/get-user-credits", trust_env=False)
        assert response.status_code == 401  # no key was sent
        assert emulator.end(signal.SIGTERM).code == 0


def check_curl(address: str, emulator: Emulator) -> None:
    """Check that the emulator serves this address."""
    import httpx

    there = re.sub(r"http://127\.0\.0\.1:\d+", emulator.url, address)
    assert there.startswith(f"{emulator.url}/")
    httpx.get(there, trust_env=False).raise_for_status()


def check_airflow(arguments: list[str]) -> None:
    """Check that Airflow's own parser accepts it, with every option in full."""
    _, complaint = read_by_airflow(arguments)
    assert not complaint, f"airflow does not accept {' '.join(arguments)}:\n{complaint}"
    reported, _ = read_by_airflow([*arguments, "--help"])
    options = {word.partition("=")[0] for word in arguments if word.startswith("--")}
    assert options <= set(re.findall(r"--[\w-]+", reported))


def read_by_airflow(arguments: list[str]) -> tuple[str, str]:
    """Return what Airflow's parser writes to stdout and to stderr: both are empty if it accepts the arguments."""
    from airflow.cli.cli_parser import get_parser

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), suppress(SystemExit):
        get_parser().parse_args(arguments)
    return out.getvalue(), err.getvalue()
