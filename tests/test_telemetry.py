"""What each kind of task reports of its requests: in the log, to a statsd server on a socket, and in the span."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, task
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from airflow_provider_segmind import telemetry
from airflow_provider_segmind.exceptions import SegmindConnectionError
from airflow_provider_segmind.operators.batch import SegmindBatchOperator
from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator, SegmindRunWorkflowOperator
from airflow_provider_segmind.protocol.wire import Metrics, Result
from airflow_provider_segmind.sensors.segmind import SegmindRequestSensor
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator
from tests.airflow_versions import needs_task_state_store, start_metrics
from tests.collectors import Metric, StatsdServer
from tests.task_runner import AnyRun, run_tasks

TIMES = {"airflow.segmind.inference_time", "airflow.segmind.queue_time"}
LINE = re.compile(r"Segmind request (\S+) \([^)]+\) (completed|skipped|failed|blocked|timeout|expired|lost|error): ")


@pytest.fixture
def statsd(airflow_db, monkeypatch: pytest.MonkeyPatch) -> Iterator[StatsdServer]:
    """Airflow's own statsd client, with InfluxDB's tags, and a server that it sends to."""
    server = StatsdServer()
    with monkeypatch.context() as configured:
        configured.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
        configured.setenv("AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED", "True")
        configured.setenv("AIRFLOW__METRICS__STATSD_HOST", "127.0.0.1")
        configured.setenv("AIRFLOW__METRICS__STATSD_PORT", str(server.port))
        start_metrics()
        yield server
        assert not any("SG_" in text for text in server.raw)
    start_metrics()
    server.close()


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Where spans end up; OpenTelemetry takes one provider in a process's life."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@contextmanager
def as_a_task(exporter: InMemorySpanExporter) -> Iterator[list[ReadableSpan]]:
    """A span like the one that Airflow opens in a task's process; afterwards: it and those of ours below."""
    found: list[ReadableSpan] = []
    exporter.clear()
    with trace.get_tracer("test").start_as_current_span("worker.upscale"):
        yield found
    found += [span for span in exporter.get_finished_spans() if span.name in ("worker.upscale", "segmind.request")]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Those of ours."""
    return {name: value for name, value in (span.attributes or {}).items() if name.startswith(("segmind.", "error."))}


def lines(run: AnyRun) -> list[tuple[str, str]]:
    """Request id and outcome of each line that reports the end of a request."""
    return LINE.findall(run.log)


def counted(metrics: list[Metric]) -> Counter[tuple[str, str]]:
    """How often each model and outcome was counted."""
    found: Counter[tuple[str, str]] = Counter()
    for metric in metrics:
        if metric.name == "airflow.segmind.requests":
            assert metric.kind == "c"
            found[(metric.tags["model"], metric.tags["outcome"])] += int(metric.value)
    return found


def spent(metrics: list[Metric]) -> int:
    """Micro-credits."""
    return sum(int(metric.value) for metric in metrics if metric.name == "airflow.segmind.cost")


def check_one(run: AnyRun, metrics: list[Metric], emulator: Any, *, model: str = "esrgan") -> None:
    """One completed request: one line, and each metric once, with the values in XCom."""
    [request] = emulator.requests
    assert lines(run) == [(request.request_id, "completed")]
    tags = {"model": model, "outcome": "completed"}
    assert all(metric.tags == tags for metric in metrics)
    reported = {metric.name: (metric.kind, metric.value) for metric in metrics}
    assert len(reported) == len(metrics) == 4
    result = next(value for value in (run.xcom(name) for name in ("upscale", "wait")) if isinstance(value, dict))
    assert reported["airflow.segmind.requests"] == ("c", 1)
    assert reported["airflow.segmind.cost"] == ("c", 5000)
    for name in ("inference_time", "queue_time"):
        kind, milliseconds = reported[f"airflow.segmind.{name}"]
        assert kind == "ms"
        assert milliseconds == pytest.approx(result["metrics"][name] * 1000, abs=0.01)
    assert f"cost 0.005 USD, balance {result['metrics']['remaining_credits']} credits" in run.log
    assert emulator.api_key not in run.log


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "plain"])
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "url"])
def test_an_operator(statsd, exporter, segmind_emulator, quick_polls, photos, tmp_path, deferrable, stored):
    with DAG("telemetry", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale",
            image=segmind_emulator.add_image(photos / "cat.jpg"),
            destination=f"file://{tmp_path}/" if stored else None,
            deferrable=deferrable,
        )
    with as_a_task(exporter) as spans:
        run = run_tasks(dag)
    check_one(run, statsd.read(), segmind_emulator)
    [span] = spans
    result = run.xcom("upscale")
    assert attributes(span) == {
        "segmind.model": "esrgan",
        "segmind.outcome": "completed",
        "segmind.request_id": result["request_id"],
        **{f"segmind.{name}": value for name, value in result["metrics"].items()},
    }
    assert segmind_emulator.api_key not in span.to_json()


def test_taskflow(statsd, segmind_emulator, quick_polls, photos):
    image = segmind_emulator.add_image(photos / "cat.jpg")
    with DAG("telemetry_taskflow", schedule=None) as dag:

        @task.segmind(model="esrgan")
        def upscale() -> dict[str, Any]:
            return {"image": image}

        upscale()
    check_one(run_tasks(dag), statsd.read(), segmind_emulator)


def test_a_workflow(statsd, segmind_emulator, quick_polls, photos):
    with DAG("telemetry_flow", schedule=None) as dag:
        SegmindRunWorkflowOperator(task_id="upscale", workflow="my-flow", inputs={"prompt": "hello"})
    run = run_tasks(dag)
    assert [outcome for _, outcome in lines(run)] == ["completed"]
    metrics = statsd.read()
    assert counted(metrics) == {("my-flow", "completed"): 1}
    assert spent(metrics) == round(run.xcom("upscale")["metrics"]["cost"] * 1_000_000) > 0


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "plain"])
def test_a_sensor_reports_and_those_beside_it_do_not(
    statsd, segmind_emulator, quick_polls, photos, tmp_path, deferrable
):
    with DAG("telemetry_split", schedule=None) as dag:
        submit = SegmindEsrganOperator(
            task_id="submit",
            image=segmind_emulator.add_image(photos / "cat.jpg"),
            wait_for_completion=False,
        )
        wait = SegmindRequestSensor(
            task_id="wait", request_id=submit.output, model="esrgan", poke_interval=0.3, deferrable=deferrable
        )
        SegmindToObjectStorageOperator(task_id="store", result=wait.output, destination=f"file://{tmp_path}/")
    check_one(run_tasks(dag), statsd.read(), segmind_emulator)


def test_a_sensor_that_finds_nothing(statsd, exporter, segmind_emulator, monkeypatch):
    value = {"conn_type": "segmind", "host": segmind_emulator.url, "password": segmind_emulator.api_key}
    monkeypatch.setenv("AIRFLOW_CONN_SEGMIND_DEFAULT", json.dumps({**value, "extra": {"poll_error_timeout": 0.3}}))
    with DAG("telemetry_nothing", schedule=None) as dag:
        SegmindRequestSensor(task_id="wait", request_id="no-such-request", deferrable=False)
    with as_a_task(exporter) as spans:
        run = run_tasks(dag)
    assert run.state == "failed"
    assert lines(run) == [("no-such-request", "expired")]
    assert counted(statsd.read()) == {("unknown", "expired"): 1}
    assert attributes(spans[0]) == {
        "segmind.outcome": "expired",
        "segmind.request_id": "no-such-request",
        "error.type": "SegmindRequestExpiredError",
    }


WRONG = {
    "failed": ("fail:CUDA error", "SegmindRequestFailedError", {}),
    "blocked": ("fail:content moderation flagged it", "SegmindContentBlockedError", {}),
    "timeout": ("stuck", "SegmindTimeoutError", {"timeout": 1.2}),
    "error": ("unknown_status", "SegmindUnknownStatusError", {}),
    "lost": ("drop_after", "SegmindUnknownOutcomeError", {"lost_submit_wait": 0.0}),
}


@pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "plain"])
@pytest.mark.parametrize("outcome", WRONG)
def test_what_goes_wrong(statsd, exporter, segmind_emulator, quick_polls, quick_retries, photos, outcome, deferrable):
    """One line and one count each, and no cost."""
    fault, error, arguments = WRONG[outcome]
    segmind_emulator.faults.add("submit", fault)
    segmind_emulator.faults.add("history", "status:500")
    image = segmind_emulator.add_image(photos / "cat.jpg")
    with DAG("telemetry_wrong", schedule=None) as dag:
        SegmindEsrganOperator(task_id="upscale", image=image, deferrable=deferrable, **{"timeout": 20, **arguments})
    with as_a_task(exporter) as spans:
        run = run_tasks(dag)
    assert run.state == "failed"
    request_id = None if outcome == "lost" else segmind_emulator.requests[-1].request_id
    if request_id:
        assert lines(run) == [(request_id, outcome)]
    else:
        assert run.log.count("Segmind request without an id (esrgan) lost: The response to a submit was lost") == 1
    metrics = statsd.read()
    assert counted(metrics) == {("esrgan", outcome): 1}
    assert len(metrics) == 1
    named = {"segmind.request_id": request_id} if request_id else {}
    reported = {"segmind.model": "esrgan", "segmind.outcome": outcome, "error.type": error}
    assert attributes(spans[0]) == reported | named


def test_a_refused_submit_is_not_a_request(statsd, segmind_emulator, photos):
    segmind_emulator.faults.add("submit", "status:401")
    with DAG("telemetry_refused", schedule=None) as dag:
        SegmindEsrganOperator(task_id="upscale", image=segmind_emulator.add_image(photos / "cat.jpg"))
    run = run_tasks(dag)
    assert run.state == "failed"
    assert lines(run) == statsd.read() == []


def test_what_is_there_already(statsd, segmind_emulator, quick_polls, photos, tmp_path):
    image = segmind_emulator.add_image(photos / "cat.jpg")
    with DAG("telemetry_skipped", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale", image=image, destination=f"file://{tmp_path}/", skip_existing=True, deferrable=True
        )
    check_one(run_tasks(dag), statsd.read(), segmind_emulator)
    again = run_tasks(dag)
    assert lines(again) == [(segmind_emulator.requests[0].request_id, "skipped")]
    metrics = statsd.read()
    tags = {"model": "esrgan", "outcome": "skipped"}
    assert [(metric.name, metric.value, metric.tags) for metric in metrics] == [
        ("airflow.segmind.requests", 1, tags),
        ("airflow.segmind.cost", 0, tags),
    ]


@needs_task_state_store
@pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "plain"])
def test_a_retry_adds_no_second_cost(
    statsd, segmind_emulator, quick_polls, quick_retries, photos, tmp_path, deferrable
):
    """The download breaks, and the next try has the result from the ledger: reported once."""
    segmind_emulator.faults.add("output", "status:500", times=8)
    with DAG("telemetry_retry", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale",
            image=segmind_emulator.add_image(photos / "cat.jpg"),
            destination=f"file://{tmp_path}/",
            deferrable=deferrable,
            retries=3,
            retry_delay=timedelta(0),
        )
    run = run_tasks(dag)
    assert run.task("upscale").try_number > 1
    check_one(run, statsd.read(), segmind_emulator)


def test_a_request_that_is_taken_up_again(statsd, segmind_emulator, quick_polls, photos):
    """The first try gives up, the second one gets the same request's result: two ends, one cost."""
    segmind_emulator.reset(latency=2.5)
    with DAG("telemetry_late", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale",
            image=segmind_emulator.add_image(photos / "cat.jpg"),
            timeout=1.8,
            retries=3,
            retry_delay=timedelta(0),
        )
    run = run_tasks(dag)
    assert run.state == "success"
    [request] = segmind_emulator.requests
    metrics = statsd.read()
    tries = run.task("upscale").try_number
    assert lines(run) == [(request.request_id, "timeout")] * (tries - 1) + [(request.request_id, "completed")]
    assert counted(metrics) == {("esrgan", "timeout"): tries - 1, ("esrgan", "completed"): 1}
    assert spent(metrics) == 5000


def test_a_batch(statsd, exporter, segmind_emulator, quick_polls, photos, tmp_path):
    """One line, one count and one span for each image; stored images are not reported again by the next run."""
    names = ["cat.jpg", "astronaut.png", "portrait-alpha.png", "blocked.jpg"]
    items = [segmind_emulator.add_image(photos / name) for name in names[:3]]
    items.append(segmind_emulator.add_image(photos / "cat.jpg", name=names[3]))
    segmind_emulator.faults.add("submit", "fail:CUDA error", times=1)
    with DAG("telemetry_batch", schedule=None) as dag:
        SegmindBatchOperator(
            task_id="upscale", model="esrgan", items=items, destination=f"file://{tmp_path}", max_failures=1
        )
    with as_a_task(exporter) as spans:
        run = run_tasks(dag)
    outcomes = {
        request.request_id: "completed" if request.billed else "failed" for request in segmind_emulator.requests
    }
    assert len(outcomes) == 4
    assert dict(lines(run)) == outcomes
    assert len(lines(run)) == 4
    metrics = statsd.read()
    assert counted(metrics) == {("esrgan", "completed"): 3, ("esrgan", "failed"): 1}
    assert spent(metrics) == round(run.xcom("upscale")["metrics"]["cost"] * 1_000_000) == 15_000
    assert sum(metric.name in TIMES for metric in metrics) == 6

    *requests, outer = spans
    assert attributes(outer) == {}
    assert {span.attributes["segmind.request_id"]: span.attributes["segmind.outcome"] for span in requests} == outcomes
    for span in requests:
        assert span.parent.span_id == outer.context.span_id
        assert span.kind is trace.SpanKind.CLIENT
        assert 0 < span.end_time - span.start_time < 120e9
        failed = span.attributes["segmind.outcome"] == "failed"
        assert span.status.is_ok is not failed
        assert ("segmind.cost" in span.attributes) is not failed

    again = run_tasks(dag)
    assert again.xcom("upscale")["stored"] == 4
    assert [outcome for _, outcome in lines(again)] == ["completed"]
    assert counted(statsd.read()) == {("esrgan", "completed"): 1}


# --- what metrics and traces cannot do --------------------------------------------------------------------------

RESULT = Result(request_id="r-1", model="esrgan", metrics=Metrics(cost=0.0000014, queue_time=0.25))


def test_a_backend_without_tags(statsd, monkeypatch):
    """As Airflow does it: they are left out."""
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED", "False")
    start_metrics()
    telemetry.completed(RESULT)
    statsd.read()
    ours = [text for text in statsd.raw if "segmind" in text]
    assert ours == [
        "airflow.segmind.requests:1|c",
        "airflow.segmind.cost:1|c",
        "airflow.segmind.queue_time:250.000000|ms",
    ]


def test_airflow_s_own_filters(statsd, monkeypatch):
    monkeypatch.setenv("AIRFLOW__METRICS__STATSD_DISABLED_TAGS", "model")
    monkeypatch.setenv("AIRFLOW__METRICS__METRICS_BLOCK_LIST", "segmind.cost")
    start_metrics()
    telemetry.completed(RESULT)
    assert [(metric.name, metric.tags) for metric in statsd.read()] == [
        ("airflow.segmind.requests", {"outcome": "completed"}),
        ("airflow.segmind.queue_time", {"outcome": "completed"}),
    ]


def test_a_broken_backend_fails_no_task(airflow_db, caplog):
    def broken() -> Any:
        raise RuntimeError("no metrics today")

    start_metrics(broken)
    try:
        with caplog.at_level("INFO"):
            telemetry.completed(RESULT)
    finally:
        start_metrics()
    assert [record.levelname for record in caplog.records if record.name == telemetry.__name__] == ["INFO", "WARNING"]
    assert "no metrics today" in caplog.text


def test_without_opentelemetry(statsd, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    telemetry.completed(RESULT)
    assert len(statsd.read()) == 3
    assert "is missing from metrics" not in caplog.text


def test_an_error_of_no_request_is_not_reported(statsd, caplog):
    telemetry.ended_badly("esrgan", SegmindConnectionError("no way out"))
    assert statsd.read() == []
    assert "no way out" not in caplog.text


def test_the_page_names_everything(statsd):
    page = (Path(__file__).parents[1] / "docs" / "emitted.md").read_text()
    telemetry.completed(RESULT.model_copy(update={"metrics": Metrics(cost=1, inference_time=1, queue_time=1)}))
    names = {metric.name.removeprefix("airflow.") for metric in statsd.read()}
    assert len(names) == 4
    names |= {f"segmind.{name}" for name in Metrics.model_fields} | set(telemetry.Outcome)
    assert {name for name in names if f"`{name}`" not in page} == set()
