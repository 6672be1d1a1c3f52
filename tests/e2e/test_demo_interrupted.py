"""A demo that is interrupted while it starts stops every process that it has started."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo.airflow_home import PROJECT
from demo.processes import marked, stop_marked

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    home = tmp_path / "airflow"
    command = [sys.executable, "-m", "demo", "--folder", str(tmp_path)]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 60
        while len(marked(home)) < 5:  # the emulator, standalone, and the first of what that starts
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        reported, _ = process.communicate(timeout=30)
        assert process.returncode == 128 + number, reported
        assert "nothing is left running" in reported
        assert marked(home) == []
    finally:
        process.kill()
        process.wait()
        stop_marked(home, grace=0)
