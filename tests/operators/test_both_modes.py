"""Each case of one table in both modes, deferrable and plain, with Airflow's own task runner."""

from __future__ import annotations

import hashlib
import io
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, Asset
from PIL import Image

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.execution.environment import TaskEnvironment
from airflow_provider_segmind.execution.gateway import SystemClock
from airflow_provider_segmind.execution.instance import Instance
from airflow_provider_segmind.execution.request_task import RequestTask
from airflow_provider_segmind.operators.segmind import (
    SegmindBriaIncreaseResolutionOperator,
    SegmindEsrganOperator,
    SegmindNomosUpscalerOperator,
    SegmindRunModelOperator,
)
from airflow_provider_segmind.polling.loop import Watch
from tests.task_runner import run_tasks


@dataclass
class Case:
    """One run: the arguments, the faults, and the expected result."""

    operator: type = SegmindEsrganOperator
    arguments: dict[str, Any] = field(default_factory=dict)
    faults: list[tuple[str, str, int | None]] = field(default_factory=list)
    emulator: dict[str, Any] = field(default_factory=dict)
    state: str = "success"
    size: tuple[int, int] | None = None
    content_type: str = "image/jpeg"
    log_lines: tuple[str, ...] = ()
    tries: int = 1
    submits: int = 1
    billed: int = 1
    advance: float = 0


CASES = {
    "esrgan x2": Case(size=(600, 400)),
    "esrgan x4 png": Case(arguments={"scale": "4", "output_format": "png"}, size=(1200, 800), content_type="image/png"),
    "esrgan templates": Case(arguments={"scale": "{{ 4 * 2 }}", "quality": "{{ 80 }}"}, size=(2400, 1600)),
    "nomos": Case(SegmindNomosUpscalerOperator, size=(1200, 800), content_type="image/png"),
    "nomos webp": Case(
        SegmindNomosUpscalerOperator, {"image_format": "webp"}, size=(1200, 800), content_type="image/webp"
    ),
    "nomos base64": Case(SegmindNomosUpscalerOperator, {"base64": True}, size=(1200, 800), content_type="image/png"),
    "bria": Case(SegmindBriaIncreaseResolutionOperator, size=(1200, 800), content_type="image/png"),
    "bria x2": Case(
        SegmindBriaIncreaseResolutionOperator, {"desired_increase": 2}, size=(600, 400), content_type="image/png"
    ),
    "input by path": Case(arguments={"image": None, "input_path": "{cat}"}, size=(600, 400)),
    "failing polls": Case(faults=[("status", fault, 1) for fault in ("status:502", "garbage")], size=(600, 400)),
    "failing result": Case(faults=[("result", "status:504", 1)], size=(600, 400)),
    "broken download": Case(faults=[("output", "truncate", 1)], size=(600, 400)),
    "lost response": Case(
        faults=[("submit", "drop_after", 1)],
        size=(600, 400),
        log_lines=("of an earlier submit: nothing is billed again",),
    ),
    "no request id": Case(faults=[("submit", "missing_fields", 1)], size=(600, 400)),
    "lost before Segmind accepted it": Case(
        arguments={"lost_submit_wait": 0.0, "on_lost_submit": "resubmit"},
        faults=[("submit", "drop_before", 1)],
        size=(600, 400),
        log_lines=("Submitting again because of on_lost_submit='resubmit'",),
    ),
    "submit refused once": Case(faults=[("submit", "status:503", 1)], size=(600, 400)),
    # --- permanent errors: one try, although the task has a retry
    "bad key": Case(
        faults=[("submit", "status:401", None)], state="failed", log_lines=("refused the API key",), billed=0
    ),
    "no credits": Case(emulator={"credits": 0.0}, state="failed", log_lines=("Not enough Segmind credits",), billed=0),
    "not allowed": Case(
        faults=[("submit", "status:403", None)], state="failed", log_lines=("no permission for this call",), billed=0
    ),
    "retired": Case(faults=[("submit", "status:410", None)], state="failed", log_lines=("retired",), billed=0),
    "failed": Case(faults=[("submit", "fail:CUDA error", None)], state="failed", log_lines=("CUDA error",), billed=0),
    "blocked": Case(
        faults=[("submit", "fail:content moderation flagged it", None)],
        state="failed",
        log_lines=("Segmind blocked the content", "will be blocked again"),
        billed=0,
    ),
    "unknown status": Case(
        faults=[("submit", "unknown_status", None)], state="failed", log_lines=("PAUSED",), billed=0
    ),
    "no output": Case(faults=[("submit", "no_output", None)], state="failed", log_lines=("without a usable output",)),
    "unknown outcome": Case(
        arguments={"lost_submit_wait": 0.0},
        faults=[("submit", "drop_after", None), ("history", "status:500", None)],
        state="failed",
        log_lines=("The response to a submit was lost", "the request history did not respond", "esrgan at 20"),
        tries=2,  # the next try searches again
    ),
    "not an image": Case(faults=[("output", "html", None)], state="failed", log_lines=("cannot be",)),
    # --- errors that can pass: the task is retried
    "too slow": Case(
        arguments={"timeout": 1.2},
        faults=[("submit", "stuck", None)],
        state="failed",
        log_lines=("did not finish in time", "no cancel call"),
        tries=2,
        billed=0,
    ),
}


@pytest.fixture(params=[True, False], ids=["deferrable", "plain"])
def deferrable(request):
    return request.param


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_case(airflow_db, segmind_emulator, photos, tmp_path, case, deferrable):
    segmind_emulator.reset(**case.emulator)
    for route, fault, times in case.faults:
        segmind_emulator.faults.add(route, fault, times=times)
    arguments = {
        "image": segmind_emulator.add_image(photos / "cat.jpg"),
        "destination": f"file://{tmp_path}/out/",
        "poll_interval": 0.25,
        "timeout": 20,
        **case.arguments,
    }
    if arguments.get("input_path"):
        arguments["input_path"] = f"file://{photos / 'cat.jpg'}"
    with DAG("both_modes", schedule=None) as dag:
        case.operator(task_id="upscale", deferrable=deferrable, retries=1, retry_delay=timedelta(0), **arguments)
    run = run_tasks(dag)
    stats = segmind_emulator.stats
    assert run.state == case.state
    assert (run.deferrals > 0) is (deferrable and stats.polls > 0)
    assert run.task("upscale").try_number == case.tries
    assert stats.submits_accepted <= case.submits
    assert stats.billed == case.billed
    for line in case.log_lines:
        assert line in run.log
    assert segmind_emulator.api_key not in run.log
    assert stats.keys_seen_on_downloads == 0
    if case.state == "success":
        check_result(run.xcom("upscale"), case, segmind_emulator)
        assert stats.submits_accepted == 1
    else:
        assert list(tmp_path.rglob("*.*")) == [], "no partly written file may remain"


def check_result(value: dict[str, Any], case: Case, emulator: Any) -> None:
    [request] = emulator.requests
    assert set(value) == {"request_id", "model", "status", "output", "outputs", "metrics", "stored"}
    assert (value["request_id"], value["model"], value["status"]) == (request.request_id, request.model, "COMPLETED")
    assert set(value["metrics"]) == {"cost", "remaining_credits", "inference_time", "queue_time", "total_time"}
    assert value["metrics"]["cost"] > 0
    if case.arguments.get("base64"):
        assert value["output"] is None
    else:
        assert value["output"].startswith(emulator.url)
        assert value["outputs"][0]["url"] == value["output"]
    [stored] = value["stored"]
    assert set(stored) - {"similarity", "metadata"} == {"uri", "bytes", "sha256", "content_type", "width", "height"}
    assert ("similarity" in stored) is ("input_path" in case.arguments)
    path = Path(stored["uri"].removeprefix("file://"))
    content = path.read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (stored["bytes"], stored["sha256"])
    assert (stored["width"], stored["height"]) == case.size
    assert stored["content_type"] == case.content_type
    with Image.open(io.BytesIO(content)) as photo:
        photo.load()
        assert photo.size == case.size
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no temporary file may remain"
    assert path.stem == "upscale"


def test_a_task_that_does_not_wait_returns_the_request_id(airflow_db, segmind_emulator, deferrable):
    with DAG("no_wait", schedule=None) as dag:
        SegmindRunModelOperator(
            task_id="submit",
            model="echo-model",
            parameters={"prompt": "{{ run_id }}"},
            wait_for_completion=False,
            deferrable=deferrable,
        )
    run = run_tasks(dag)
    [request] = segmind_emulator.requests
    assert run.xcom("submit") == request.request_id
    assert run.xcom("submit", key="request_id") == request.request_id
    assert request.parameters["prompt"].startswith("manual__")
    assert segmind_emulator.stats.polls == 0


def test_a_quick_request_completes_without_a_deferral(airflow_db, segmind_emulator):
    with DAG("quick_request", schedule=None) as dag:
        SegmindRunModelOperator(
            task_id="quick",
            model="echo-model",
            parameters={"prompt": "x"},
            deferrable=True,
            defer_after=5,
            poll_interval=0.25,
        )
    run = run_tasks(dag)
    assert run.state == "success"
    assert run.deferrals == 0


def test_a_task_defers_after_defer_after_seconds(airflow_db, segmind_emulator):
    segmind_emulator.reset(latency=1.5)
    with DAG("slow_request", schedule=None) as dag:
        SegmindRunModelOperator(
            task_id="slow",
            model="echo-model",
            parameters={"prompt": "x"},
            deferrable=True,
            defer_after=0.5,
            poll_interval=0.25,
        )
    run = run_tasks(dag)
    assert run.state == "success"
    assert run.deferrals == 1
    assert segmind_emulator.stats.submits_accepted == 1


def test_no_poll_before_the_request_can_be_completed(airflow_db, segmind_emulator, photos):
    """Bria takes 12 s by its page: a poll after one second would find it running."""
    image = segmind_emulator.add_image(photos / "cat.jpg")
    operator = SegmindBriaIncreaseResolutionOperator(
        task_id="x", image=image, deferrable=True, defer_after=1.0, segmind_conn_id="segmind_default"
    )
    now, instance = time.time(), Instance("d", "r", "x")
    nothing: Any = lambda *given, **named: None  # noqa: E731
    environment = TaskEnvironment(operator.hook, instance, nothing, nothing, nothing, nothing, SystemClock())
    task = RequestTask(operator._arguments(), environment)
    assert task._wait_here(Watch("r-1", "bria-increase-resolution", now, now + 600), now) is None
    assert segmind_emulator.stats.polls == 0


# --- the trigger ends the task ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"deferrable": False}, "deferrable=True"),
        ({"wait_for_completion": False}, "wait_for_completion=True"),
        ({"destination": "file:///tmp/x/"}, "stores nothing"),
        ({"outlets": [Asset("images")]}, "no asset events"),
    ],
)
def test_end_from_trigger_rejects_arguments_that_need_a_worker(arguments, message):
    with pytest.raises(SegmindConfigError, match=message):
        SegmindEsrganOperator(
            **{"task_id": "t", "image": "https://x.example/a.png", "deferrable": True, **arguments},
            end_from_trigger=True,
        )
