"""
Run every block of code in README.md and the pages of docs/.

A block's text is run as it stands, except what leads out of the test: public URLs of images become images of the
emulator, ``file:///tmp/`` a folder of the test, port numbers a free port, request ids one that the emulator knows.
Buckets that it names are made on a local S3 server, with an image under every key and in every folder;
``file:///tmp/photos`` has one, too. A page that ends in ``pytest`` is a project: its files (first line: their name)
are written, and pytest runs there.
"""

from __future__ import annotations

import configparser
import datetime
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import documents
from tests.airflow_versions import dag_bag, needs_airflow_sdk
from tests.cli.terminal import call, environment
from tests.documents import BLOCKS, DOCUMENTS, PROJECTS, ROOT, Block, alone, commands, of

if TYPE_CHECKING:
    from airflow_provider_segmind.emulator import Emulator

#: Of every run: ``{{ ds }}`` is this day.
DAY = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
#: Plugins of this development set-up, which a reader does not have; the last one collects garbage for seconds.
OTHERS = ("cacheprovider", "randomly", "xdist", "instafail", "pytest_cov", "unraisableexception")
REQUEST_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


def test_every_block_has_a_language_that_is_tested() -> None:
    tested = {"python", "bash", "json", "toml", "ini", "sql"}
    shown = {"text"}  # what a command prints
    assert [str(block) for block in BLOCKS if block.language not in tested | shown] == []


# --- python -----------------------------------------------------------------------------------------------------


@pytest.fixture
def localised(
    segmind_emulator: Emulator, s3_server: str, monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path
) -> Any:
    """Return a function that turns a block's text into one that needs only this machine."""
    import boto3

    from airflow_provider_segmind.hooks.segmind import SegmindHook

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
        rendered = text.replace("{{ ds }}", f"{DAY:%Y-%m-%d}")
        for bucket, key in set(re.findall(r"s3://(?:\w+@)?([\w.-]+)/([^\"'\s]*)", rendered)):
            s3.create_bucket(Bucket=bucket)
            key = f"{key}cat.jpg" if key.endswith("/") or not key else key
            if key.endswith((".jpg", ".jpeg", ".png", ".webp")) and "{" not in key:
                s3.put_object(Bucket=bucket, Key=key, Body=(photos / "cat.jpg").read_bytes())
        (tmp_path / "files" / "photos").mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / "cat.jpg", tmp_path / "files" / "photos")
        image = segmind_emulator.add_image(photos / "cat.jpg")
        text = re.sub(r"https?://[^\"'\s]+\.(?:jpe?g|png|webp)", image, text)
        if REQUEST_ID.search(text):
            made = SegmindHook().submit("esrgan", {"image": image})
            text = REQUEST_ID.sub(made.request_id, text)
        return text.replace("file:///tmp/", f"file://{tmp_path}/files/")

    return localise


@needs_airflow_sdk
@pytest.mark.parametrize("block", [block for block in alone() if block.is_dag], ids=str)
def test_dag(
    block: Block, localised: Any, airflow_db: Path, quick_polls: None, tmp_path: Path, segmind_emulator: Emulator
) -> None:
    """Parsed as a DAG file, run, and what it returns has the keys that the page's JSON shows."""
    from tests.task_runner import run_tasks

    file = tmp_path / "readme_dag.py"
    file.write_text(localised(block.text), encoding="utf-8")
    bag = dag_bag(str(file))
    assert bag.import_errors == {}
    assert bag.dags, "no DAG in this block"
    for dag in bag.dags.values():
        run = run_tasks(dag, logical_date=DAY)
        assert {state for states in run.states().values() for state in states} == {"success"}, run.log
        results = [
            value
            for task_id, states in run.states().items()
            for index in [-1, *range(len(states))]
            if isinstance(value := run.xcom(task_id, index), dict) and "request_id" in value
        ]
        for result in results:
            for shown in shown_results(block.document):
                assert keys(result | {"stored": []}) == keys(shown | {"stored": []})
                if "stored" in result and "stored" in shown:
                    assert keys(result["stored"]) == keys(shown["stored"])
    stats = segmind_emulator.stats
    assert stats.submits_attempted == stats.submits_accepted == stats.billed


def shown_results(document: Path) -> list[dict[str, Any]]:
    """Return the results of tasks that a page shows as JSON."""
    shown = [json.loads(block.text) for block in of("json") if block.document == document]
    return [item for item in shown if isinstance(item, dict) and {"request_id", "outputs"} <= set(item)]


def keys(value: Any) -> Any:
    """Return the shape of a JSON value: its keys at every level."""
    if isinstance(value, dict):
        return {key: keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [keys(item) for item in value[:1]]
    return None


@pytest.mark.parametrize("block", [block for block in alone() if block.is_test and not block.is_dag], ids=str)
def test_test(block: Block, request: pytest.FixtureRequest, localised: Any) -> None:
    """Run each test of a block with the fixtures that it names."""
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(localised(block.text), str(block), "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    for test in tests:
        wanted = test.__code__.co_varnames[: test.__code__.co_argcount]
        test(**{name: request.getfixturevalue(name) for name in wanted})


@pytest.mark.parametrize(
    "block", [block for block in alone() if not (block.is_dag or block.is_test)] or [None], ids=str
)
def test_other_python(block: Block | None, localised: Any, airflow_db: Path) -> None:
    if block is not None:
        exec(compile(localised(block.text), str(block), "exec"), {"__name__": "readme"})


@needs_airflow_sdk
@pytest.mark.e2e  # a reader's own project runs its Airflow in a process of its own
@pytest.mark.parametrize("page", PROJECTS, ids=lambda page: page.stem)
def test_project(page: Path, tmp_path: Path) -> None:
    """Write the files of a page into a folder and run pytest there, as a reader does: every test passes."""
    files = {block.file: block.text for block in of("python") if block.document == page and block.file}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *(f"-pno:{name}" for name in OTHERS), "-v"],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    expected = sum(text.count("\ndef test_") for text in files.values())
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{expected} passed" in done.stdout


# --- data -------------------------------------------------------------------------------------------------------


def test_data_can_be_read() -> None:
    for block in of("json"):
        json.loads(block.text)
    for block in of("toml"):
        tomllib.loads(block.text)
    for block in of("ini"):
        configparser.ConfigParser().read_string(block.text)


@needs_airflow_sdk
@pytest.mark.parametrize("block", of("sql"), ids=str)
def test_query(block: Block) -> None:
    """Run a query on the catalogue: its tables and columns exist."""
    from dags_examples.upscale_catalogue import CREATE_TABLE

    connection = sqlite3.connect(":memory:")
    connection.execute(CREATE_TABLE)
    connection.execute(block.text)
    connection.close()


# --- commands ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", commands())
def test_command(
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    airflow_db: Path,
    segmind_emulator: Emulator,
    quick_polls: None,
    tmp_path: Path,
    photos: Path,
) -> None:
    match command:
        case ["make", *targets]:
            documents.check_make(targets)
        case ["pip", "install", *packages]:
            for package in packages:
                documents.check_requirement(package)
        case ["export", assignment]:
            documents.check_environment(assignment, monkeypatch)
        case ["python", "-m", module, *arguments] if module == "airflow_provider_segmind.emulator":
            documents.check_emulator(arguments, tmp_path)
        case ["git", "clone", address]:
            assert address in set(documents.PYPROJECT["project"]["urls"].values())
        case ["cd", folder]:
            assert folder == documents.NAME
        case ["curl", address]:
            documents.check_curl(address, segmind_emulator)
        case ["python", "-m", "airflow_provider_segmind", *arguments]:
            shutil.copy(photos / "cat.jpg", tmp_path / "photo.jpg")
            done = call(*arguments, cwd=tmp_path, env=environment(tmp_path, segmind_emulator))
            assert done.code == 0, done.err
        case ["airflow", *arguments]:
            documents.check_airflow(arguments)
        case ["pytest"]:
            assert PROJECTS  # test_project runs it
        case _:
            pytest.fail(f"no check for this command: {command}")


# --- text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """The files exist; make docs checks the headings in them."""
    text = documents.FENCE.sub("", document.read_text(encoding="utf-8"))
    local = [target for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in target]
    assert [target for target in local if not (document.parent / target).exists()] == []


def test_named_errors_exist_and_are_retried_as_stated() -> None:
    """Every error class that is named exists, and is retried or not as a table states."""
    from airflow_provider_segmind import exceptions

    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        named = set(re.findall(r"`(Segmind\w+Error)`", text))
        assert {name for name in named if not hasattr(exceptions, name)} == set(), document
        for name, retried in re.findall(r"\| `(Segmind\w+Error)` \| (yes|no) \|", text):
            assert getattr(exceptions, name).default_retryable == (retried == "yes"), name


def test_every_class_that_is_named_exists() -> None:
    """``Segmind…Operator`` and the like, in any text."""
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "airflow_provider_segmind").rglob("*.py"))
    for document in DOCUMENTS:
        named = set(re.findall(r"`(Segmind\w+)\b", document.read_text(encoding="utf-8")))
        assert {name for name in named if f"class {name}" not in source} == set(), document


def test_the_files_that_how_it_works_names_exist() -> None:
    """Each heading names the file in which its subject is implemented."""
    text = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    package = ROOT / "airflow_provider_segmind"
    named = re.findall(r"`([a-z_]+/[a-z_]+\.py)`", text)
    assert {"execution/engine.py", "execution/record.py", "polling/schedule.py", "polling/rate_limiter.py"} <= set(
        named
    )
    assert [name for name in named if not (package / name).is_file()] == []


def test_the_index_for_language_models_names_every_page() -> None:
    docs = ROOT / "docs"
    listed = set(re.findall(r"\]\(([^)]+\.md)\)", (docs / "llms.txt").read_text(encoding="utf-8")))
    generated = {"index.md", "changelog.md", "contributing.md"}
    pages = {path for path in DOCUMENTS if path.is_relative_to(docs) and path.name not in generated}
    assert listed == {path.relative_to(docs).as_posix() for path in pages}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_diagram_of_the_rooms_names_every_package() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## The rooms", 1)[1].split("\n## ", 1)[0]
    rooms = {path.parent.name for path in (ROOT / "airflow_provider_segmind").glob("*/__init__.py")}
    assert {name for name in rooms if not re.search(rf"\b{name}\b", text)} == set()
