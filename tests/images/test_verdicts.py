"""The verdict of each file of this folder, as an input and as an output; no raw error for any file of a folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindOutputError
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.protocol.data_uris import data_uri
from airflow_provider_segmind.protocol.wire import OutputFile, Result
from airflow_provider_segmind.storage import load_image, store_result
from airflow_provider_segmind.storage.verification import data_uri_size
from tests.images.survey import ACCEPTED, REFUSED, verdict_of
from tests.source_tree import ROOT

HERE = Path(__file__).parent
ROWS = re.findall(r"^\| (\S+\.\w+) \| .* \| (.*) \| (.*) \|$", (HERE / "README.md").read_text(), re.MULTILINE)
SIZE = re.compile(r"(\d+) x (\d+)")


def size_of(expected: str) -> tuple[int, ...] | None:
    found = SIZE.fullmatch(expected)
    return found and tuple(map(int, found.groups()))


def test_the_table_has_every_file() -> None:
    files = {path.name for path in HERE.iterdir() if path.is_file()}
    assert {name for name, *_ in ROWS} == {name for name in files if not name.endswith((".py", ".md"))}


@pytest.mark.parametrize("use", ["input", "output"])
@pytest.mark.parametrize(("name", "as_input", "as_output"), ROWS)
def test_each_file(name: str, as_input: str, as_output: str, use: str) -> None:
    expected = as_input if use == "input" else as_output
    with (HERE / name).open("rb") as file:
        verdict = verdict_of(file, use)
        preview = verdict_of(file, "preview")
    if size := size_of(expected):
        assert (verdict.kind, verdict.text) == (ACCEPTED, str(size))
    else:
        assert verdict.kind == REFUSED
        assert expected in verdict.text
    assert preview.kind in (ACCEPTED, REFUSED)


@pytest.mark.parametrize(("name", "expected"), [row[:2] for row in ROWS])
def test_each_file_as_an_input_path_and_as_a_data_uri(airflow_db, name: str, expected: str) -> None:
    uri = data_uri((HERE / name).read_bytes())
    if size := size_of(expected):
        assert load_image(f"file://{HERE}/{name}", None).size == size
        assert data_uri_size("nomos-upscaler", uri) == size
        return
    with pytest.raises(SegmindConfigError, match=re.escape(expected)) as caught:
        load_image(f"file://{HERE}/{name}", None)
    assert str(caught.value).startswith(f"Invalid configuration: input file://{HERE}/{name}: it")
    assert "Nothing was sent and nothing was billed" in str(caught.value)
    with pytest.raises(SegmindConfigError, match=re.escape(expected)):
        data_uri_size("nomos-upscaler", uri)


@pytest.mark.parametrize(("name", "expected"), [(name, as_output) for name, _, as_output in ROWS])
def test_each_file_as_an_output(airflow_db, segmind_emulator, tmp_path, name: str, expected: str) -> None:
    url = segmind_emulator.add_image((HERE / name).read_bytes(), name="claimed.png")
    result = Result(request_id="r-1", model="esrgan", output=url, outputs=[OutputFile(url=url)])
    with SegmindHook() as hook:
        if size := size_of(expected):
            [stored] = store_result(hook, result, f"file://{tmp_path}/out/", name="t")
            assert (stored.width, stored.height) == size
            return
        with pytest.raises(SegmindOutputError) as caught:
            store_result(hook, result, f"file://{tmp_path}/out/", name="t")
    assert caught.value.request_id == "r-1"
    assert not list(tmp_path.rglob("*.*"))


def test_the_script_reads_a_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("phone.mpo.jpg", "dds_named.jpg", "animated.gif"):
        (tmp_path / "deep" / name).write_bytes((HERE / name).read_bytes())
    (tmp_path / "empty.png").touch()
    command = [sys.executable, "-m", "tests.images", "-v", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}
    assert rows["input"] == ["1", "3", "0"]
    assert rows["output"] == ["2", "2", "0"]
    assert rows["preview"] == ["1", "3", "0"]
    assert "4 files, 2 with a wrong extension" in done.stdout
    assert "deep/dds_named.jpg: its format is DDS" in done.stdout
