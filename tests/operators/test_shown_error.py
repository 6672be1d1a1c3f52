"""What a task failed with is left for the tab in Airflow's UI, whichever way it failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.emulator import Emulator
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindRequestFailedError
from airflow_provider_segmind.runtime.failures import ERROR_KEY, permanent_errors_fail
from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator
from tests.task_runner import run_tasks

pytestmark = pytest.mark.usefixtures("airflow_db", "quick_polls")


def failed_with(emulator: Emulator, photos: Path, **arguments: Any) -> Any:
    """Run one task that fails, and return what it left for the tab."""
    with DAG("shown_error", schedule=None) as dag:
        SegmindEsrganOperator(task_id="fails", image=emulator.add_image(photos / "cat.jpg"), **arguments)
    run = run_tasks(dag)
    assert run.state == "failed"
    return run.xcom("fails", key=ERROR_KEY)


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_failed_request_is_reported(segmind_emulator: Emulator, photos: Path, deferrable: bool) -> None:
    segmind_emulator.faults.add("submit", "fail:Out of memory")
    reported = failed_with(segmind_emulator, photos, deferrable=deferrable)
    [request] = segmind_emulator.requests
    assert reported == {
        "type": "SegmindRequestFailedError",
        "title": SegmindRequestFailedError.what,
        "message": "Out of memory",
        "next_step": SegmindRequestFailedError.advice,
        "request_id": request.request_id,
        "status": 422,
        "retryable": False,
    }


def test_a_key_in_the_vendors_words_is_blotted_out(segmind_emulator: Emulator, photos: Path) -> None:
    key = segmind_emulator.api_key
    segmind_emulator.faults.add("submit", "status:400", body={"error": f"no parameter may be {key}"})
    reported = failed_with(segmind_emulator, photos)
    assert reported["message"] == "no parameter may be ***"


def test_nothing_is_written_where_no_xcom_is_wanted(segmind_emulator: Emulator, photos: Path) -> None:
    segmind_emulator.faults.add("submit", "fail:Out of memory")
    assert failed_with(segmind_emulator, photos, do_xcom_push=False) is None


def test_outside_of_a_task_it_is_an_error_like_any_other() -> None:
    error = SegmindConfigError("no")
    error.retryable = True
    with pytest.raises(SegmindConfigError), permanent_errors_fail():
        raise error
