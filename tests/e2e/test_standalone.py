"""
The whole thing for real: ``airflow standalone``, the folder DAG, the emulator as a process.

One image of each model goes through it, deferrable, and the process of one task is killed after its submit.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from demo import report
from demo.airflow_home import DAG_FILE, PROJECT, Home, wait_for
from demo.api import DAG_ID, MODELS, Api, emulator_stats
from tests import templates

pytestmark = pytest.mark.standalone

PHOTO = PROJECT / "tests" / "photos" / "cat.jpg"
KEY = "SG_feedfacecafef00d"
RUN = "standalone"
#: The task whose process dies once, after its request id is in the ledger.
KILLED = "nomos"
ARMED = f"""

from tests.chaos.kills import Kill, arm

put = "airflow_provider_segmind.execution.store:TaskStateRecords.put"
arm({{"{KILLED}": Kill(put, "after", only="State.SUBMITTED")}})
"""


@dataclass
class KillingHome(Home):
    """The demo's Airflow, on a migrated database, with a DAG that kills one of its processes."""

    def prepare(self) -> None:
        super().prepare()
        templates.copy_database(self.path)
        (self.path / "marks").mkdir()
        with (self.path / "dags" / DAG_FILE.name).open("a") as file:
            file.write(ARMED)

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PYTHONPATH": str(PROJECT), "CHAOS_MARKS": str(self.path / "marks")}


@dataclass
class Standalone:
    """A running Airflow, and what was observed while it ran the DAG."""

    home: Home
    api: Api
    source: Path
    target: Path
    state: str = ""
    seen: dict[str, set[str]] = field(default_factory=dict)
    links_while_deferred: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        self.api.trigger(RUN, {"source": self.source.as_uri(), "destination": self.target.as_uri()})
        wait_for("the run", self._observe, home=self.home, seconds=240, pause=0.3)
        self.state = self.api.run_state(RUN)

    def _observe(self) -> bool:
        over = self.api.is_over(RUN)
        for ti in self.api.task_instances(RUN):
            task, index, state = ti["task_id"], ti["map_index"], ti["state"]
            if task not in MODELS or index < 0:
                continue
            self.seen.setdefault(task, set()).add(state)
            if state == "deferred" and task not in self.links_while_deferred:
                links = self.api.links(RUN, task, index)
                if links["Segmind model"]:  # the last link that is written, shortly after the state
                    self.links_while_deferred[task] = links
        return over

    def airflow(self, *arguments: str) -> Any:
        """Run Airflow's command line, and return its JSON."""
        command = [str(Path(sys.executable).parent / "airflow"), *arguments, "-o", "json"]
        environment = self.home.environment()
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
        return json.loads(done.stdout[done.stdout.index("[") :])

    def logs_of(self, task: str) -> dict[str, str]:
        """Return the logs of a task's tries and triggers by file name."""
        found = (self.home.path / "logs").glob(f"dag_id=*/run_id={RUN}/task_id={task}/map_index=0/*.log*")
        return {path.name: path.read_text() for path in sorted(found)}


@contextmanager
def started(folder: Path) -> Iterator[Standalone]:
    """Yield an Airflow that has run the DAG."""
    (folder / "images").mkdir()
    shutil.copy(PHOTO, folder / "images")
    with KillingHome(folder / "airflow") as home:
        try:
            home.start_emulator("--latency", "3", "--api-key", KEY, "--credits", "50")
            home.start_airflow()
            with closing(Api(home.url)) as api:
                wait_for("the API", api.sign_in, home=home, seconds=240)
                wait_for("the DAG", api.has_dag, home=home, seconds=240)
                yield Standalone(home, api, folder / "images", folder / "upscaled")
        except Exception:
            sys.stderr.write(home.tail(lines=80))  # pytest shows it if a test fails
            raise


def test_one_image_of_each_model_and_one_kill(tmp_path: Path) -> None:
    with started(tmp_path) as standalone:
        standalone.run()
        check_each_image_is_stored_once(standalone)
        check_each_task_waited_in_the_triggerer(standalone)
        check_what_a_task_returns(standalone)
        check_links(standalone)
        check_connection_form(standalone)
        check_test_connection(standalone)
        check_airflow_lists_the_provider(standalone)
        check_nothing_is_left_after_the_stop_and_no_key_was_written(standalone)


def check_each_image_is_stored_once(standalone: Standalone) -> None:
    images = report.images_in(standalone.source)
    outcomes = report.collect(standalone.api, RUN)
    stats = emulator_stats(standalone.home.emulator_url)
    assert standalone.state == "success", standalone.home.task_errors()
    assert report.problems(outcomes, images, stats) == []
    assert len(outcomes) == len(MODELS) == stats["submits_attempted"] == stats["submits_accepted"] == stats["billed"]
    assert {outcome.model: outcome.factor for outcome in outcomes} == {"esrgan": 2, "nomos": 4, "bria": 2}
    assert stats["keys_seen_on_downloads"] == stats["keys_seen_elsewhere"] == 0


def check_each_task_waited_in_the_triggerer(standalone: Standalone) -> None:
    assert "deferred" in set().union(*standalone.seen.values())
    assert len(list((standalone.home.path / "marks").iterdir())) == 1, "one process has killed itself"
    tries = {ti["task_id"]: ti["try_number"] for ti in standalone.api.task_instances(RUN) if ti["task_id"] in MODELS}
    for task, slug in MODELS.items():
        logs = standalone.logs_of(task)
        by_trigger = [text for name, text in logs.items() if ".trigger." in name]
        worker = "".join(text for name, text in logs.items() if ".trigger." not in name)
        assert len(by_trigger) == 1, (task, standalone.seen[task], list(logs))
        assert f"({slug}) in the triggerer" in by_trigger[0]
        assert "Pausing task as DEFERRED" in worker
        assert worker.count(f"Submitted {slug} as Segmind request") == 1
        assert tries[task] == (2 if task == KILLED else 1)


def check_what_a_task_returns(standalone: Standalone) -> None:
    for task, slug in MODELS.items():
        returned = standalone.api.xcom(RUN, task, 0)
        assert set(returned) == {"request_id", "model", "status", "output", "outputs", "metrics", "stored"}
        assert (returned["model"], returned["status"]) == (slug, "COMPLETED")
        assert set(returned["outputs"][0]) == {"url", "content_type", "file_name", "file_size"}
        assert returned["outputs"][0]["url"] == returned["output"]
        times = {"inference_time", "queue_time", "total_time"}
        assert set(returned["metrics"]) == {"cost", "remaining_credits", *times}
        [stored] = returned["stored"]
        assert set(stored) - {"similarity", "metadata"} == {"uri", "bytes", "sha256", "content_type", "width", "height"}
        assert report.local_path(stored["uri"]).stat().st_size == stored["bytes"]
        assert len(json.dumps(returned)) < 2000


def check_links(standalone: Standalone) -> None:
    assert set(standalone.links_while_deferred) == set(MODELS)
    for task, slug in MODELS.items():
        page = f"https://www.segmind.com/models/{slug}"
        ids = f"dag_id={DAG_ID}&run_id={RUN}&task_id={task}&map_index="
        tab = f"dags/{DAG_ID}/runs/{RUN}/tasks/{task}/mapped/0/plugin/segmind-upscaled"
        seen = standalone.links_while_deferred[task]
        assert seen["Segmind model"] == page
        assert (seen["Before and after (full page)"] or "").startswith(f"segmind/view.html?{ids}")
        assert (seen["Output at Segmind"], seen["Stored object"]) == (None, None)
        assert standalone.api.links(RUN, task, 0) == {
            "Before and after": tab,
            "Before and after (full page)": f"segmind/view.html?{ids}0",
            "Segmind model": page,
            "Output at Segmind": standalone.api.xcom(RUN, task, 0)["output"],
            "Stored object": None,  # a file has no console
        }


def check_connection_form(standalone: Standalone) -> None:
    form = next(
        kind for kind in standalone.api.get("/ui/connections/hook_meta") if kind["connection_type"] == "segmind"
    )
    assert form["hook_name"] == "Segmind"
    fields = form["standard_fields"]
    assert fields["password"]["title"] == "API key"
    assert fields["host"]["title"] == "Gateway URL"
    assert all(fields[name]["hidden"] for name in ("login", "port", "url_schema"))
    assert not fields["password"]["hidden"]
    assert {"upload_url", "read_timeout", "output_hosts", "allow_http"} <= set(form["extra_fields"])


def check_test_connection(standalone: Standalone) -> None:
    def test(key: str, **more: Any) -> dict[str, Any]:
        host = standalone.home.emulator_url
        body = {"connection_id": "tried", "conn_type": "segmind", "host": host, "password": key, **more}
        response = standalone.api.post("/api/v2/connections/test", body)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
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


def check_airflow_lists_the_provider(standalone: Standalone) -> None:
    providers = {row["package_name"] for row in standalone.airflow("providers", "list")}
    assert "airflow-provider-segmind" in providers
    hooks = {row["connection_type"]: row for row in standalone.airflow("providers", "hooks")}
    assert hooks["segmind"]["class"] == "airflow_provider_segmind.hooks.segmind.SegmindHook"


def check_nothing_is_left_after_the_stop_and_no_key_was_written(standalone: Standalone) -> None:
    assert len(standalone.home.running()) >= 6  # otherwise the mark of the processes does not work
    standalone.home.stop()
    assert standalone.home.running() == []
    files = [path for path in standalone.home.path.rglob("*") if path.is_file()]
    assert any(path.name == templates.DATABASE for path in files)
    assert len(files) > 12
    contents = [path.read_bytes() for path in files]
    assert any(
        b"Submitted esrgan as Segmind request" in content for content in contents
    )  # so a key would be found, too
    assert [path for path, content in zip(files, contents, strict=True) if KEY.encode() in content] == []
