"""The whole thing for real: ``airflow standalone``, the folder DAG, the emulator as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demo import report
from demo.airflow_home import PROJECT, Home, wait_for
from demo.api import DAG_ID, MODELS, Api, emulator_stats
from demo.processes import marked, stop_marked

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.e2e

PHOTOS = PROJECT / "tests" / "photos"
KEY = "SG_feedfacecafef00d"
RUN = "e2e"


@dataclass
class Standalone:
    """A running Airflow, and what was seen while it ran the DAG."""

    home: Home
    api: Api
    target: Path
    state: str = ""
    seen: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    links_while_deferred: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        self.api.trigger(RUN, {"source": PHOTOS.as_uri(), "destination": self.target.as_uri()})
        wait_for("the run", self._look, home=self.home, seconds=240, pause=0.3)
        self.state = self.api.run_state(RUN)

    def _look(self) -> bool:
        over = self.api.is_over(RUN)
        for ti in self.api.task_instances(RUN):
            task, index, state = ti["task_id"], ti["map_index"], ti["state"]
            if task not in MODELS or index < 0:
                continue
            self.seen.setdefault((task, index), set()).add(state)
            if state == "deferred" and task not in self.links_while_deferred:
                links = self.api.links(RUN, task, index)
                if links["Segmind model"]:  # the last of those that are written, a moment after the state
                    self.links_while_deferred[task] = links
        return over

    def airflow(self, *arguments: str) -> Any:
        """Run Airflow's own command, and read its JSON."""
        command = [str(Path(sys.executable).parent / "airflow"), *arguments, "-o", "json"]
        environment = self.home.environment()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
        return json.loads(done.stdout[done.stdout.index("[") :])

    def logs_of(self, task: str, index: int) -> list[Path]:
        return list((self.home.path / "logs").glob(f"dag_id=*/run_id={RUN}/task_id={task}/map_index={index}/*.log*"))


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    folder = tmp_path_factory.mktemp("standalone")
    with Home(folder / "airflow") as home:
        home.start_emulator("--latency", "uniform:4:7", "--api-key", KEY, "--credits", "50")
        home.start_airflow()
        api = Api(home.url)
        try:
            wait_for("the API", api.sign_in, home=home, seconds=240)
            wait_for("the DAG", api.has_dag, home=home, seconds=240)
            running = Standalone(home, api, folder / "upscaled")
            running.run()
            yield running
        except Exception:
            sys.stderr.write(home.tail(lines=80))  # pytest shows it with the failure
            raise
        finally:
            api.close()


def test_every_picture_comes_out_once(standalone: Standalone) -> None:
    pictures = report.pictures_in(PHOTOS)
    outcomes = report.collect(standalone.api, RUN)
    stats = emulator_stats(standalone.home.emulator_url)
    assert report.problems(outcomes, pictures, stats) == []
    assert standalone.state == "success"
    assert len(outcomes) == len(pictures) * len(MODELS) == stats["submits_accepted"] == stats["billed"]
    assert {outcome.model: outcome.factor for outcome in outcomes} == {"esrgan": 2, "nomos": 4, "bria": 2}
    assert stats["keys_seen_on_downloads"] == stats["keys_seen_elsewhere"] == 0


def test_every_task_waited_in_the_triggerer(standalone: Standalone) -> None:
    assert len(standalone.seen) == 12
    for (task, index), states in standalone.seen.items():
        logs = standalone.logs_of(task, index)
        by_trigger = [path.read_text() for path in logs if ".trigger." in path.name]
        worker = "".join(path.read_text() for path in logs if ".trigger." not in path.name)
        assert len(by_trigger) == 1, (task, index, states, logs)
        assert f"({MODELS[task]}) is COMPLETED" in by_trigger[0]
        assert "Pausing task as DEFERRED" in worker
        assert worker.count(f"Submitted {MODELS[task]} as Segmind request") == 1
    assert any("deferred" in states for states in standalone.seen.values())


def test_what_a_task_returns(standalone: Standalone) -> None:
    for task, slug in MODELS.items():
        returned = standalone.api.xcom(RUN, task, 0)
        assert set(returned) == {"request_id", "model", "status", "output", "outputs", "metrics", "stored"}
        assert (returned["model"], returned["status"]) == (slug, "COMPLETED")
        assert set(returned["outputs"][0]) == {"url", "content_type", "file_name", "file_size"}
        assert returned["outputs"][0]["url"] == returned["output"]
        times = {"inference_time", "queue_time", "total_time"}
        assert set(returned["metrics"]) == {"cost", "remaining_credits", *times}
        [stored] = returned["stored"]
        assert set(stored) == {"uri", "bytes", "sha256", "content_type", "width", "height"}
        assert report.local_path(stored["uri"]).stat().st_size == stored["bytes"]
        assert len(json.dumps(returned)) < 2000


def test_links_of_a_mapped_task(standalone: Standalone) -> None:
    assert set(standalone.links_while_deferred) == set(MODELS)
    for task, slug in MODELS.items():
        page = f"https://www.segmind.com/models/{slug}"
        ids = f"dag_id={DAG_ID}&run_id={RUN}&task_id={task}&map_index="
        tab = f"dags/{DAG_ID}/runs/{RUN}/tasks/{task}/mapped/1/plugin/segmind-upscaled"
        seen = standalone.links_while_deferred[task]
        assert seen["Segmind model"] == page
        assert (seen["Before and after, as a page"] or "").startswith(f"segmind/view.html?{ids}")
        assert (seen["Upscaled picture"], seen["Stored object"]) == (None, None)
        assert standalone.api.links(RUN, task, 1) == {
            "Before and after": tab,
            "Before and after, as a page": f"segmind/view.html?{ids}1",
            "Segmind model": page,
            "Upscaled picture": standalone.api.xcom(RUN, task, 1)["output"],
            "Stored object": None,  # a file has no console
        }


def test_connection_form(standalone: Standalone) -> None:
    form = next(
        kind for kind in standalone.api.get("/ui/connections/hook_meta") if kind["connection_type"] == "segmind"
    )
    assert form["hook_name"] == "Segmind"
    fields = form["standard_fields"]
    assert fields["password"]["title"] == "API key"
    assert fields["host"]["title"] == "Gateway address"
    assert all(fields[name]["hidden"] for name in ("login", "port", "url_schema"))
    assert not fields["password"]["hidden"]
    assert {"upload_url", "read_timeout", "output_hosts", "allow_http"} <= set(form["extra_fields"])


def test_test_connection(standalone: Standalone) -> None:
    def test(key: str, **more: Any) -> dict[str, Any]:
        host = standalone.home.emulator_url
        body = {"connection_id": "tried", "conn_type": "segmind", "host": host, "password": key, **more}
        answer = standalone.api.post("/api/v2/connections/test", body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    left = emulator_stats(standalone.home.emulator_url)["remaining_credits"]
    good = test(KEY)
    assert good["status"] is True
    assert f"{left:g} credits" in good["message"]
    bad = test("no-such-key-1234")
    assert bad["status"] is False
    assert "no-such-key-1234" not in bad["message"]
    assert "key" in bad["message"].lower()
    assert test("")["status"] is False


def test_airflow_lists_the_provider(standalone: Standalone) -> None:
    providers = {row["package_name"] for row in standalone.airflow("providers", "list")}
    assert "airflow-provider-segmind" in providers
    hooks = {row["connection_type"]: row for row in standalone.airflow("providers", "hooks")}
    assert hooks["segmind"]["class"] == "airflow_provider_segmind.hooks.segmind.SegmindHook"


def test_after_the_stop_nothing_is_left_and_no_key_was_written(standalone: Standalone) -> None:
    """The last test of this file: it stops the Airflow that the others use."""
    assert len(standalone.home.running()) >= 6  # or the mark by which they are found does not work
    standalone.home.stop()
    assert standalone.home.running() == []
    files = [path for path in standalone.home.path.rglob("*") if path.is_file()]
    assert any(path.name == "airflow.db" for path in files)
    assert len(files) > 25
    contents = [path.read_bytes() for path in files]
    assert any(b"Submitted esrgan as Segmind request" in content for content in contents)  # so a key would be seen, too
    assert [path for path, content in zip(files, contents, strict=True) if KEY.encode() in content] == []


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
        said, _ = process.communicate(timeout=30)
        assert process.returncode == 128 + number, said
        assert "nothing is left running" in said
        assert marked(home) == []
    finally:
        process.kill()
        process.wait()
        stop_marked(home, grace=0)
