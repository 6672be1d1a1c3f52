"""The parts of the demo, without an Airflow."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image
from rich.console import Console

from demo import report
from demo.__main__ import live_connection, only_one
from demo.airflow_home import PROJECT, DemoError, Home, free_ports
from demo.api import MODELS, Api
from demo.processes import MARK, marked, stop_marked
from demo.progress import count
from demo.sheet import Row, busiest, contact_sheet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PHOTOS = PROJECT / "demo" / "photos"


def outcome(image: Path, model: str, **more) -> report.Outcome:
    with Image.open(image) as opened:
        before = opened.size
    factor = {"esrgan": 2, "nomos": 4, "bria": 2}[model]
    after = (before[0] * factor, before[1] * factor)
    uri = (PROJECT / "upscaled" / model / "0.png").as_uri()
    made = report.Outcome(image, model, factor, before, after, uri, 0.98, f"{image.name}-{model}", 0.01, 1.5)
    return replace(made, **more)


@pytest.fixture
def outcomes() -> list[report.Outcome]:
    return [outcome(image, model) for image in report.images_in(PHOTOS) for model in MODELS]


def stats(accepted: int = 4) -> dict[str, Any]:
    return {"by_model": {slug: {"accepted": accepted} for slug in MODELS.values()}}


def test_contact_sheet(tmp_path):
    rows = []
    for image in report.images_in(PHOTOS):
        after = tmp_path / f"{image.stem}.png"
        with Image.open(image) as opened:
            opened.resize((opened.width * 2, opened.height * 2)).save(after)
        rows.append(Row(image.name, image, [("esrgan", after), ("bria", after)]))
    size = contact_sheet(rows, tmp_path / "sheet.png", title="Before and after", caption="A caption.")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == size
        assert sheet.mode == "RGB"
        assert len(sheet.getcolors(1 << 24) or []) > 1000
    assert size[0] > 1000
    assert size[1] > 1000


def test_contact_sheet_takes_a_tiny_image(tmp_path):
    Image.new("LA", (5, 3)).save(tmp_path / "tiny.png")
    row = Row("tiny.png", tmp_path / "tiny.png", [("esrgan", tmp_path / "tiny.png")])
    contact_sheet([row], tmp_path / "sheet.png", title="", caption="")


def test_the_loupe_shows_the_detail_with_the_most_edges():
    image = Image.new("RGB", (200, 200), "gray")
    image.paste("white", (120, 40, 135, 55))
    left, top, right, bottom = busiest(image)
    assert left <= 120 < 135 <= right
    assert top <= 40 < 55 <= bottom


def test_no_problem_is_reported_for_complete_outputs(outcomes):
    assert report.problems(outcomes, report.images_in(PHOTOS), stats()) == []
    assert report.problems(outcomes, report.images_in(PHOTOS), None) == []


def test_problems_are_reported(outcomes):
    images = report.images_in(PHOTOS)
    assert report.problems(outcomes[1:], images, None) == ["astronaut.png: no output from esrgan"]
    small = [replace(outcomes[0], after=(256, 256)), *outcomes[1:]]
    assert "256x256 pixels, expected 512x512" in report.problems(small, images, None)[0]
    same = [replace(outcomes[0], request_id=outcomes[1].request_id), *outcomes[1:]]
    assert report.problems(same, images, None) == ["two tasks returned the same request"]
    assert report.problems(outcomes, images, stats(5))[0] == "esrgan: 5 submits were accepted for 4 images"


def test_table_fits_80_columns(outcomes):
    console = Console(width=80)
    with console.capture() as capture:
        console.print(report.table(outcomes, PROJECT / "upscaled"))
    text = capture.get()
    assert "portrait-alpha.png" in text
    assert "400x348→1600x1392" in text
    assert "nomos/0.png" in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_progress_counts():
    states = [None, "queued", "scheduled", "running", "deferred", "success", "failed", "up_for_retry"]
    instances = [{"task_id": "esrgan", "map_index": i, "state": state} for i, state in enumerate(states)]
    instances += [
        {"task_id": "esrgan", "map_index": -1, "state": None},
        {"task_id": "x", "map_index": 0, "state": None},
    ]
    assert count(instances, "esrgan") == {"queued": 4, "running": 1, "deferred": 1, "done": 1, "failed": 1}


def test_processes_are_found_and_stopped_anywhere_in_the_tree(tmp_path):
    """One process ignores SIGTERM, and one has left its parent and its session."""
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    runaway = "import os, time; os.fork() and os._exit(0); os.setsid(); print(flush=True); time.sleep(60)"
    environment = os.environ | {MARK: str(tmp_path)}
    started = []
    for code in (stubborn, runaway):
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        started.append(process)
    assert len(marked(tmp_path)) == 2
    began = time.monotonic()
    assert stop_marked(tmp_path, grace=0.5) == []
    assert marked(tmp_path) == []
    assert time.monotonic() - began < 30
    for process in started:
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_environment_of_the_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGMIND_API_KEY", "mine")
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "mine")
    monkeypatch.setenv("no_proxy", "intra.example")
    home = Home(tmp_path, connection='{"password": "secret-key"}')
    environment = home.environment()
    assert "mine" not in environment.values()
    assert environment["no_proxy"] == "intra.example,127.0.0.1,localhost"
    assert environment["AIRFLOW_CONN_SEGMIND_DEFAULT"] == home.connection
    assert "secret" not in repr(home)
    (tmp_path / "standalone.log").write_text("a\nsecret-key\n")
    assert home.tail() == "a\n***"


def test_live_only_if_requested(monkeypatch):
    monkeypatch.delenv("SEGMIND_DEMO_LIVE", raising=False)
    monkeypatch.setenv("SEGMIND_API_KEY", "key")
    assert live_connection() is None
    monkeypatch.setenv("SEGMIND_DEMO_LIVE", "1")
    assert live_connection() == '{"conn_type": "segmind", "password": "key"}'
    monkeypatch.delenv("SEGMIND_API_KEY")
    with pytest.raises(DemoError, match="SEGMIND_API_KEY"):
        live_connection()


def test_one_demo_at_a_time(tmp_path):
    with only_one(tmp_path), pytest.raises(DemoError, match="another demo"):
        only_one(tmp_path)
    only_one(tmp_path).close()


def test_free_ports_differ():
    assert len(set(free_ports(5))) == 5


@pytest.fixture
def busy_server() -> Iterator[tuple[str, list[int]]]:
    """Start a server that sends the statuses of a list, one per call; return its URL and the list."""
    responses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(responses.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", responses
        server.shutdown()


@pytest.mark.parametrize("came", [[200], [500, 200], [500, 409]], ids=str)
def test_a_run_starts_though_the_database_was_locked(busy_server, came):
    url, responses = busy_server
    responses += came
    Api(url).trigger_dag("dag", "run")
    assert not responses


def test_a_refused_run_is_not_requested_again(busy_server):
    url, responses = busy_server
    responses += [404, 200]
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        Api(url).trigger_dag("dag", "run")
    assert responses == [200]
