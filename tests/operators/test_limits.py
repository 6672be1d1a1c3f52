"""Rate limits, timeouts and minimum balances."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator, SegmindRunModelOperator
from airflow_provider_segmind.polling import loop
from tests.airflow_versions import no_new_try
from tests.task_runner import run_tasks

pytestmark = pytest.mark.usefixtures("own_rate_limit_files")
both = pytest.mark.parametrize("deferrable", [True, False], ids=["deferrable", "plain"])


def echo(**arguments):
    """Return an operator that runs the emulator's echo model."""
    return SegmindRunModelOperator(
        **{
            "task_id": "t",
            "model": "echo-model",
            "parameters": {"prompt": "x"},
            "retries": 1,
            "retry_delay": timedelta(0),
            "poll_interval": 0.25,
            **arguments,
        }
    )


@both
def test_a_task_waits_for_a_rate_limit_without_a_retry(airflow_db, segmind_emulator, deferrable):
    segmind_emulator.faults.add("submit", "status:429", times=2, headers={"retry-after": "1"})
    with DAG("limit", schedule=None) as dag:
        echo(deferrable=deferrable, retries=0)
    run = run_tasks(dag)
    assert run.state == "success"
    assert run.task("t").try_number == 1
    assert segmind_emulator.stats.submits_accepted == 1
    assert segmind_emulator.stats.submits_attempted == 3
    assert "nothing was accepted. Next submit in" in run.log
    assert run.deferrals == (3 if deferrable else 0)


@both
def test_a_rate_limit_beyond_the_timeout_fails_the_task_at_once(airflow_db, segmind_emulator, deferrable):
    segmind_emulator.faults.add("submit", "status:429", headers={"retry-after": "500"})
    with DAG("limit_too_long", schedule=None) as dag:
        echo(deferrable=deferrable, retries=0, timeout=5)
    run = run_tasks(dag)
    assert run.state == "failed"
    assert "rate limit is reached" in run.log
    assert segmind_emulator.stats.submits_attempted == 1


def test_other_tasks_of_the_machine_wait_for_the_same_rate_limit(airflow_db, segmind_emulator):
    segmind_emulator.faults.add("submit", "status:429", times=1, headers={"retry-after": "2"})
    with DAG("shared_limit", schedule=None) as dag:
        for n in range(3):
            echo(task_id=f"t{n}", deferrable=True, retries=0)
    assert run_tasks(dag).state == "success"
    assert segmind_emulator.stats.submits_accepted == 3
    assert segmind_emulator.stats.submits_attempted == 4


@both
def test_queue_timeout_ends_a_request_that_stays_queued(airflow_db, segmind_emulator, deferrable):
    segmind_emulator.reset(latency=100, queue_share=0.9)
    with DAG("queue", schedule=None) as dag:
        echo(deferrable=deferrable, retries=0, queue_timeout=0.6, timeout=60)
    run = run_tasks(dag)
    assert run.state == "failed"
    assert "was still QUEUED" in run.log


@both
def test_a_shorter_execution_timeout_shortens_the_deadline(airflow_db, segmind_emulator, deferrable):
    segmind_emulator.reset(latency=100)
    with DAG("execution", schedule=None) as dag:
        echo(deferrable=deferrable, retries=0, execution_timeout=timedelta(seconds=3), timeout=60)
    run = run_tasks(dag)
    assert run.state == "failed"
    assert "The request did not finish in time" in run.log
    assert segmind_emulator.requests[0].request_id in run.log


@no_new_try
@both
def test_the_next_try_reattaches_after_a_timeout(airflow_db, segmind_emulator, deferrable):
    segmind_emulator.reset(latency=2.0)
    with DAG("reattach", schedule=None) as dag:
        echo(deferrable=deferrable, retries=3, timeout=0.9)
    run = run_tasks(dag)
    assert run.state == "success"
    assert run.task("t").try_number > 1
    assert segmind_emulator.stats.submits_attempted == 1
    assert re.search("of an earlier (try|submit): nothing is billed again", run.log)  # by its record, or by the history


@both
@pytest.mark.parametrize("extra", [False, True])
def test_min_remaining_credits_is_checked_before_the_submit(
    airflow_db, segmind_emulator, monkeypatch, deferrable, extra
):
    segmind_emulator.reset(credits=3.0)
    if extra:
        uri = segmind_emulator.connection_uri[:-1] + ', "extra": {"min_remaining_credits": 5}}'
        monkeypatch.setenv("AIRFLOW_CONN_SEGMIND_DEFAULT", uri)
    with DAG("budget", schedule=None) as dag:
        echo(deferrable=deferrable, **({} if extra else {"min_remaining_credits": 5}))
    run = run_tasks(dag)
    assert run.state == "failed"
    assert run.task("t").try_number == 1
    assert "the balance is 3 credits, min_remaining_credits is 5" in run.log
    assert segmind_emulator.stats.submits_attempted == 0


def test_an_event_of_another_version_is_rejected(airflow_db):
    from airflow_provider_segmind.exceptions import SegmindEventError
    from airflow_provider_segmind.protocol.events import read_rate_limit_event

    for payload in (None, {}, {"version": 2, "kind": "rate_limit", "started_at": 0, "returns": 0}, {"kind": "fetch"}):
        with pytest.raises(SegmindEventError):
            read_rate_limit_event(payload)


def test_a_cleared_task_submits_the_changed_input(airflow_db, segmind_emulator, photos, tmp_path):
    photo = tmp_path / "in.png"
    photo.write_bytes((photos / "astronaut.png").read_bytes())
    with DAG("changed", schedule=None) as dag:
        SegmindEsrganOperator(task_id="t", input_path=f"file://{photo}", poll_interval=0.25)
    run = run_tasks(dag)
    photo.write_bytes((photos / "portrait-alpha.png").read_bytes())
    again = run.again("t")
    assert (run.state, again.state) == ("success", "success")
    first, second = segmind_emulator.requests
    assert first.parameters["image"] != second.parameters["image"]
    assert segmind_emulator.stats.uploads == 2


def test_a_task_submits_again_once_after_lost_responses(airflow_db, segmind_emulator):
    segmind_emulator.faults.add("submit", "drop_before")
    with DAG("lost_twice", schedule=None) as dag:
        echo(retries=0, on_lost_submit="resubmit", lost_submit_wait=0)
    run = run_tasks(dag)
    assert run.state == "failed"
    assert segmind_emulator.stats.submits_attempted == 2


@both
def test_a_request_that_expires_during_the_wait_is_recovered_from_the_history(
    airflow_db, segmind_emulator, monkeypatch, deferrable
):
    segmind_emulator.faults.add("status", "status:404")
    monkeypatch.setattr(loop, "RECORD_LIVES", 0.0)
    with DAG("expires", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="t",
            image=segmind_emulator.add_image(photo()),
            deferrable=deferrable,
            retries=0,
            poll_interval=1.0,
        )
    run = run_tasks(dag)
    assert run.state == "success"
    assert "the request history has its output" in run.log
    assert run.xcom("t")["output"].startswith(segmind_emulator.url)
    assert segmind_emulator.stats.submits_attempted == 1


def photo():
    return Path(__file__).parents[1] / "photos" / "cat.jpg"
