"""Run what docs/cli.md shows; only request ids and the emulator's port are replaced."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
from pathlib import Path

import pytest

from tests.airflow_versions import needs_provider_commands
from tests.cli.terminal import ROOT, airflow, call, environment, module, started

TEXT = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
LINES = [
    line
    for block in re.findall(r"^```bash\n(.*?)^```$", TEXT, re.M | re.S)
    for line in block.splitlines()
    if line.strip()
]
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def labels(text):
    """Return the first words of the lines; numbers, ids and paths differ in each run."""
    return {re.split(r"\s{2,}|,? \d|: ", line)[0].rpartition("/")[2] for line in text.strip().splitlines()}


def test_every_block_is_run():
    assert set(re.findall(r"^```(\w+)$", TEXT, re.M)) == {"bash", "text"}
    assert len(LINES) == 13


@pytest.mark.parametrize(
    "line", [pytest.param(line, marks=needs_provider_commands if line.startswith("airflow ") else ()) for line in LINES]
)
def test_line(line, tmp_path, photos, segmind_emulator, quick_polls):
    shutil.copy(photos / "cat.jpg", tmp_path / "photo.jpg")
    env = environment(tmp_path, segmind_emulator)
    typed = shlex.split(line)
    if typed[0] == "export":
        name, _, value = typed[1].partition("=")
        assert name in env
        env[name] = env[name] if name == "SEGMIND_GATEWAY" else value
        typed = ["python", "-m", "airflow_provider_segmind", "credits"]
    if "emulator" in typed:
        with started(*typed[3:-1], "0", cwd=tmp_path, env=env) as emulator:
            emulator.match("^Segmind emulator on http://")
            assert emulator.end(signal.SIGTERM).code == 0
        return
    if UUID.search(line):
        first = call("run", "esrgan", "photo.jpg", cwd=tmp_path, env=env)
        typed = [UUID.sub(UUID.search(first.err)[0], word) for word in typed]
    program, arguments = (airflow, typed[2:]) if typed[0] == "airflow" else (module, typed[3:])
    done = call(*arguments, cwd=tmp_path, env=env, program=program)
    assert done.code == 0, done.err
    if "-o" in typed:
        out = tmp_path / typed[typed.index("-o") + 1]
        assert out.is_file() or list(Path(out).glob("photo*"))
    if line == next(line for line in LINES if " run " in line):
        [shown] = re.findall(r"^```text\n(.*?)^```$", TEXT, re.M | re.S)
        assert labels(shown) - {"processing"} <= labels(done.err + done.out)
