"""
Everything that README.md shows is run: what it says in code, works.

A block's text is run as it stands, but for what leads out of the test: public URLs of pictures become pictures of the
emulator, ``file:///tmp/`` a folder of the test, port numbers a free port. Buckets it names are made on a local S3
server, with a picture under every key that a task reads.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from airflow_provider_segmind.emulator import Emulator

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NAME = PYPROJECT["project"]["name"]


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"line {self.line} ({self.language or 'no language'})"


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks, with the line in which each begins."""
    fence = re.compile(r"^(?P<fence>`{3,}|~{3,})[ ]*(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=fence)[ ]*$", re.M | re.S)
    for found in fence.finditer(text):
        yield Block(text.count("\n", 0, found.start()) + 1, found["language"].strip(), found["text"])


BLOCKS = list(blocks(README))
DAG_FILES = [block for block in BLOCKS if block.language == "python" and re.search(r"\bDAG\(|@dag\b", block.text)]
TEST_FILES = [block for block in BLOCKS if block.language == "python" and re.search(r"^def test_", block.text, re.M)]


def of(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def test_every_block_has_a_language_that_is_tested() -> None:
    assert [str(block) for block in BLOCKS if block.language not in {"python", "bash", "json", "toml"}] == []
    assert README.count("\n```") == 2 * len(BLOCKS)  # none was missed


# --- python -----------------------------------------------------------------------------------------------------


@pytest.fixture
def localised(
    segmind_emulator: Emulator, s3_server: str, monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path
) -> Any:
    """Turns a block's text into one that needs nothing but this machine."""
    import boto3

    connection = {
        "conn_type": "aws",
        "login": "testing",
        "password": "testing",
        "extra": {"endpoint_url": s3_server, "region_name": "us-east-1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    s3 = boto3.client(
        "s3",
        endpoint_url=s3_server,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
    )

    def localise(text: str) -> str:
        for bucket, key in set(re.findall(r"s3://(?:\w+@)?([\w.-]+)/([^\"'\s]*)", text)):
            s3.create_bucket(Bucket=bucket)
            if key.endswith((".jpg", ".jpeg", ".png", ".webp")):
                s3.put_object(Bucket=bucket, Key=key, Body=(photos / "cat.jpg").read_bytes())
        picture = segmind_emulator.add_picture(photos / "cat.jpg")
        text = re.sub(r"https?://[^\"'\s]+\.(?:jpe?g|png|webp)", picture, text)
        return text.replace("file:///tmp/", f"file://{tmp_path}/files/")

    return localise


@pytest.mark.parametrize("block", DAG_FILES, ids=str)
def test_dag(
    block: Block, localised: Any, airflow_db: Path, quick_polls: None, tmp_path: Path, segmind_emulator: Emulator
) -> None:
    """Parsed as a DAG file, run, and what it returns has the keys that the README's JSON shows."""
    from airflow.dag_processing.dagbag import DagBag

    from tests.airflow_env import run_dag

    file = tmp_path / "readme_dag.py"
    file.write_text(localised(block.text), encoding="utf-8")
    bag = DagBag(str(file))
    assert bag.import_errors == {}
    assert bag.dags, "no DAG in this block"
    for dag in bag.dags.values():
        run = run_dag(dag)
        assert {state for states in run.states().values() for state in states} == {"success"}, run.log
        results = [
            value
            for ti in run.dag_run.get_task_instances()
            if isinstance(value := run.xcom(ti.task_id, ti.map_index), dict) and "request_id" in value
        ]
        for result in results:
            for shown in shown_results():
                assert keys(result | {"stored": []}) == keys(shown | {"stored": []})
                if "stored" in result and "stored" in shown:
                    assert keys(result["stored"]) == keys(shown["stored"])
    stats = segmind_emulator.stats
    assert stats.submits_attempted == stats.submits_accepted == stats.billed


def shown_results() -> list[dict[str, Any]]:
    """The results of tasks that the README shows as JSON."""
    shown = [json.loads(block.text) for block in of("json")]
    return [item for item in shown if isinstance(item, dict) and {"request_id", "outputs"} <= set(item)]


def keys(value: Any) -> Any:
    """The shape of a JSON value: its keys, all the way down."""
    if isinstance(value, dict):
        return {key: keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [keys(item) for item in value[:1]]
    return None


@pytest.mark.parametrize("block", TEST_FILES, ids=str)
def test_test(block: Block, request: pytest.FixtureRequest, localised: Any) -> None:
    """A pytest file of the README: each of its tests, with the fixtures that it names."""
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(localised(block.text), f"README.md, {block}", "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    for test in tests:
        wanted = test.__code__.co_varnames[: test.__code__.co_argcount]
        test(**{name: request.getfixturevalue(name) for name in wanted})


@pytest.mark.parametrize(
    "block", [block for block in of("python") if block not in DAG_FILES + TEST_FILES] or [None], ids=str
)
def test_other_python(block: Block | None, localised: Any, airflow_db: Path) -> None:
    if block is not None:
        exec(compile(localised(block.text), f"README.md, {block}", "exec"), {"__name__": "readme"})


# --- data -------------------------------------------------------------------------------------------------------


def test_data_can_be_read() -> None:
    for block in of("json"):
        json.loads(block.text)
    for block in of("toml"):
        tomllib.loads(block.text)


# --- commands ---------------------------------------------------------------------------------------------------


def commands() -> list[Any]:
    """Every command line of the README, with its line number."""
    found = []
    for block in of("bash"):
        text = block.text.replace("\\\n", "  ")
        for number, line in enumerate(text.splitlines(), block.line + 1):
            words = shlex.split(line, comments=True)
            if words:
                found.append(pytest.param(words, id=f"line {number}: {line.strip()[:50]}"))
    return found


@pytest.mark.parametrize("words", commands())
def test_command(words: list[str], monkeypatch: pytest.MonkeyPatch, airflow_db: Path) -> None:
    match words:
        case ["make", *targets]:
            makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
            known = set(re.findall(r"^([\w-]+):(?!=)", makefile, re.M))
            assert {target for target in targets if "=" not in target} <= known
            variables = {target.partition("=")[0] for target in targets if "=" in target}
            assert all(re.search(rf"\$\({variable}\)|\b{variable}\b", makefile) for variable in variables)
        case ["pip", "install", *packages]:
            for package in packages:
                check_requirement(Requirement(package))
        case ["export", assignment]:
            check_environment(assignment, monkeypatch)
        case ["python", "-m", module, *arguments] if module == "airflow_provider_segmind.emulator":
            check_emulator(arguments)
        case ["airflow", *arguments]:
            check_airflow(arguments)
        case _:
            pytest.fail(f"no check for this command: {shlex.join(words)}")


def check_requirement(requirement: Requirement) -> None:
    """Ours with extras that there are, or one that the development set-up has, too."""
    if requirement.name == NAME:
        assert requirement.extras <= set(PYPROJECT["project"]["optional-dependencies"])
    else:
        assert metadata.version(requirement.name) in requirement.specifier


def check_environment(assignment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that Airflow or the hook reads, with a value that they understand."""
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
    else:
        assert name.startswith("AIRFLOW__"), f"who reads {name}?"


def check_emulator(arguments: list[str]) -> None:
    """It starts with these arguments, on a free port, and answers."""
    import httpx

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = re.sub(r"--port[= ]\d+", "", shlex.join(arguments))
    command = [sys.executable, "-m", "airflow_provider_segmind.emulator", *shlex.split(given), "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/v1/get-user-credits", trust_env=False)
                break
            except httpx.ConnectError:
                assert process.poll() is None, "it has ended"
                assert time.monotonic() < deadline, "it does not answer"
                time.sleep(0.1)
        assert answer.status_code == 401  # no key was sent
    finally:
        process.terminate()
        process.wait(10)


def check_airflow(arguments: list[str]) -> None:
    """The subcommand is there, and knows the options."""
    subcommand = []
    for word in arguments:
        if not re.fullmatch(r"[a-z][a-z-]*", word):
            break
        subcommand.append(word)
    while subcommand:  # the last words may be arguments, such as a DAG's id
        done = subprocess.run(
            [str(Path(sys.executable).with_name("airflow")), *subcommand, "--help"],
            capture_output=True,
            text=True,
            env=os.environ,
            timeout=60,
        )
        if done.returncode == 0:
            options = {word.partition("=")[0] for word in arguments if word.startswith("--")}
            assert options <= set(re.findall(r"--[\w-]+", done.stdout))
            return
        subcommand.pop()
    pytest.fail(f"airflow knows no {' '.join(arguments)}")


# --- words ------------------------------------------------------------------------------------------------------


def test_links_lead_somewhere() -> None:
    local = [target for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", README) if "://" not in target]
    assert [target for target in local if not (ROOT / target).exists()] == []


def test_the_errors_are_as_the_table_says() -> None:
    """Every error class that is named exists, and is tried again or not as the table says."""
    from airflow_provider_segmind import exceptions

    named = set(re.findall(r"`(Segmind\w+Error)`", README))
    assert {name for name in named if not hasattr(exceptions, name)} == set()
    for name, retried in re.findall(r"\| `(Segmind\w+Error)` \| (yes|no) \|", README):
        assert getattr(exceptions, name).default_retryable == (retried == "yes"), name
