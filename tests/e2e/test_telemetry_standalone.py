"""
What a whole Airflow sends: metrics to a statsd server, spans to an OpenTelemetry collector, lines to its logs.

It is an Airflow of its own, because one that sends OpenLineage events, as the shared one does, refuses a DAG whose
tasks end in the triggerer (``end_from_trigger``).
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.rig import Rig
from tests.collectors import Metric, OtlpCollector, StatsdServer

pytestmark = pytest.mark.e2e

DAG_ID, RUN = "chaos_telemetry", "telemetry"
EXAMPLES = Path(__file__).parents[2] / "dags_examples"
SINGLE = ("deferrable", "plain", "from_trigger", "sensor")
OURS = re.compile(r"Segmind request \S+ \(\S+\) (completed|failed): ")


class Observed(Rig):
    """A rig that also runs the example with a budget."""

    def prepare(self) -> None:
        super().prepare()
        shutil.copy(EXAMPLES / "budget.py", self.path / "dags")
        self.dags = (*self.dags, "budget")


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Rig, list[Metric], list[dict[str, Any]]]]:
    """Run the DAG; yield the rig and the telemetry that it sent."""
    with closing(StatsdServer()) as statsd, OtlpCollector() as collector:
        environ = {
            "AIRFLOW__METRICS__STATSD_ON": "True",
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(statsd.port),
            "AIRFLOW__METRICS__METRICS_ALLOW_LIST": "segmind.",
            "AIRFLOW__TRACES__OTEL_ON": "True",
            "OTEL_TRACES_EXPORTER": "otlp_proto_http",
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "300",
        }
        home = tmp_path_factory.mktemp("telemetry") / "home"
        options = ("--latency", "1.5", "--model", "failing")
        with Observed(home, dags=(DAG_ID,), emulator_options=options, environ=environ) as rig:
            rig.emulator("faults", "POST", route="submit", kind="fail:CUDA error", model="failing")
            assert rig.run(DAG_ID, RUN, seconds=180) == "failed"  # one task is meant to fail
            metrics = statsd.read()
            names = (*SINGLE, "failing", "batch")
            rig.wait("the spans", lambda: all(_of(collector.spans(), name) for name in names), seconds=60)
            yield rig, metrics, collector.spans()
            key = rig.api_key
        assert not any(key in text for text in statsd.raw)
        assert not any(key.encode() in body for body in collector.bodies)
    assert not rig.running(), "processes are left behind"


def _of(spans: list[dict[str, Any]], task_id: str) -> list[dict[str, Any]]:
    """Return the spans about a request from a task's processes, worker and triggerer."""
    mine = [span for span in spans if span["name"].split(".", 1)[-1] == task_id]
    ids = {span["id"] for span in mine}
    mine += [span for span in spans if span["name"] == "segmind.request" and span["parent"] in ids]
    return [span for span in mine if "segmind.outcome" in span["attributes"]]


def test_metrics(sent):
    rig, metrics, _ = sent
    states = {ti["task_id"]: ti["state"] for ti in rig.api.instances(DAG_ID, RUN)}
    assert {task for task, state in states.items() if state != "success"} == {"failing"}
    reported = Counter((metric.name, metric.kind, *metric.tags.values()) for metric in metrics)
    done = len(SINGLE) + 2
    assert reported == {
        ("airflow.segmind.requests", "c", "esrgan", "completed"): done,
        ("airflow.segmind.cost", "c", "esrgan", "completed"): done,
        ("airflow.segmind.inference_time", "ms", "esrgan", "completed"): done,
        ("airflow.segmind.queue_time", "ms", "esrgan", "completed"): done,
        ("airflow.segmind.requests", "c", "failing", "failed"): 1,
    }
    assert {tuple(metric.tags) for metric in metrics} == {("model", "outcome")}
    cost = sum(metric.value for metric in metrics if metric.name == "airflow.segmind.cost")
    assert cost == done * 5000
    times = [metric.value for metric in metrics if metric.name == "airflow.segmind.inference_time"]
    assert all(1000 < value < 3000 for value in times), times


def test_one_line_per_request(sent):
    rig, _, _ = sent
    for task_id, expected in {**dict.fromkeys(SINGLE, 1), "failing": 1, "batch": 2, "submit": 0}.items():
        logs = list((rig.path / "logs").glob(f"dag_id={DAG_ID}/run_id={RUN}/task_id={task_id}/*.log*"))
        reported = [line for path in logs for line in path.read_text().splitlines() if OURS.search(line)]
        assert len(reported) == expected, (task_id, logs, reported)


@pytest.mark.parametrize("task_id", SINGLE)
def test_the_span_of_a_task(sent, task_id):
    rig, _, spans = sent
    [span] = _of(spans, task_id)
    by = "trigger" if task_id == "from_trigger" else "worker"
    assert span["name"] == f"{by}.{task_id}"
    result = rig.api.returned(DAG_ID, RUN, task_id)
    ours = {name: value for name, value in span["attributes"].items() if name.startswith("segmind.")}
    assert ours == {
        "segmind.model": "esrgan",
        "segmind.outcome": "completed",
        "segmind.request_id": result["request_id"],
        **{f"segmind.{name}": value for name, value in result["metrics"].items()},
    }


def test_the_span_of_a_failure(sent):
    _, _, spans = sent
    [span] = _of(spans, "failing")
    assert span["name"] == "worker.failing"
    assert span["attributes"].pop("segmind.request_id")
    ours = {name: value for name, value in span["attributes"].items() if name.startswith(("segmind.", "error."))}
    assert ours == {
        "segmind.model": "failing",
        "segmind.outcome": "failed",
        "error.type": "SegmindRequestFailedError",
    }


def test_the_spans_of_a_batch(sent):
    _, _, spans = sent
    found = _of(spans, "batch")
    assert [span["name"] for span in found] == ["segmind.request"] * 2
    [outer] = {span["parent"] for span in found}
    [task] = [span for span in spans if span["id"] == outer]
    assert task["name"] == "worker.batch"
    assert not any(name.startswith("segmind.") for name in task["attributes"])
    for span in found:
        assert span["trace"] == task["trace"]
        assert 1 < span["seconds"] < 90  # from its submit
        assert span["attributes"]["segmind.cost"] == 0.005
        assert span["attributes"]["segmind.outcome"] == "completed"


def test_the_budget_example(sent, photos):
    rig, _, _ = sent
    conf = {
        "images": [f"{rig.images.url}/budget-{number}.jpg" for number in range(2)],
        "destination": f"file://{rig.out}/budget/",
        "budget": 0.01,
    }
    assert rig.run("segmind_budget", "within", seconds=120, conf=conf) == "success"
    assert rig.api.returned("segmind_budget", "within", "total") == 0.01
    assert rig.run("segmind_budget", "past", seconds=120, conf=conf | {"budget": 0.009}) == "failed"
    states = Counter((ti["task_id"], ti["state"]) for ti in rig.api.instances("segmind_budget", "past"))
    assert states == {
        ("afford", "success"): 1,
        ("list_images", "success"): 1,
        ("upscale", "success"): 2,
        ("total", "failed"): 1,
    }
