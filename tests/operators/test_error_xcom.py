"""The error of a failed task is pushed to XCom, where the tab in Airflow's UI reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.emulator import Emulator
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindRequestFailedError
from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator
from airflow_provider_segmind.runtime.failures import ERROR_KEY, permanent_errors_fail
from tests.task_runner import run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls")


def error_of_failed_task(emulator: Emulator, photos: Path, **arguments: Any) -> Any:
    """Run one task that fails, and return the error that it pushed."""
    with DAG("shown_error", schedule=None) as dag:
        SegmindEsrganOperator(task_id="fails", image=emulator.add_image(photos / "cat.jpg"), **arguments)
    run = run_tasks(dag)
    assert run.state == "failed"
    return run.xcom("fails", key=ERROR_KEY)


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_error_of_a_failed_request_is_pushed(segmind_emulator: Emulator, photos: Path, deferrable: bool) -> None:
    segmind_emulator.faults.add("submit", "fail:Out of memory")
    error = error_of_failed_task(segmind_emulator, photos, deferrable=deferrable)
    [request] = segmind_emulator.requests
    assert error == {
        "type": "SegmindRequestFailedError",
        "title": SegmindRequestFailedError.what,
        "message": "Out of memory",
        "next_step": SegmindRequestFailedError.advice,
        "request_id": request.request_id,
        "status": 422,
        "retryable": False,
    }


def test_a_key_in_segminds_message_is_redacted(segmind_emulator: Emulator, photos: Path) -> None:
    key = segmind_emulator.api_key
    segmind_emulator.faults.add("submit", "status:400", body={"error": f"no parameter may be {key}"})
    error = error_of_failed_task(segmind_emulator, photos)
    assert error["message"] == "no parameter may be ***"


def test_no_error_is_pushed_with_do_xcom_push_false(segmind_emulator: Emulator, photos: Path) -> None:
    segmind_emulator.faults.add("submit", "fail:Out of memory")
    assert error_of_failed_task(segmind_emulator, photos, do_xcom_push=False) is None


def test_outside_a_task_the_error_is_raised_unchanged() -> None:
    error = SegmindConfigError("no")
    error.retryable = True
    with pytest.raises(SegmindConfigError), permanent_errors_fail():
        raise error
