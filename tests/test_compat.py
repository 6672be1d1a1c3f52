"""What every Airflow does, whatever it lacks: run by ``make matrix`` on each of them."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_segmind import compat
from airflow_provider_segmind.execution.batch import BatchRun
from airflow_provider_segmind.execution.manifest import BatchFolder
from airflow_provider_segmind.operators.segmind import SegmindBatchOperator, SegmindEsrganOperator
from airflow_provider_segmind.retry_policy import SegmindRetryPolicy
from airflow_provider_segmind.runtime import task as runtime
from tests.airflow_versions import AIRFLOW
from tests.task_runner import run_tasks

RETRY = {"retries": 1, "retry_delay": timedelta(0)}


@pytest.fixture(params=[True, False], ids=["deferrable", "plain"])
def deferrable(request, quick_polls):
    return request.param


@pytest.fixture
def no_store(monkeypatch):
    """No task state store: as it is before Airflow 3.3, and made so on it."""
    if AIRFLOW >= (3, 3):
        monkeypatch.setattr(runtime, "task_state_store", lambda context: None)


def test_what_is_there_from_which_version_on():
    lacks = compat.__doc__ or ""
    assert compat.HAS_RETRY_POLICIES is (AIRFLOW >= (3, 3))
    assert set(re.findall(r"  (3\.\d)  ", lacks)) == {"3.0", "3.1", "3.3"}


# --- paid once without a store -------------------------------------------------------------------------------------


@pytest.mark.parametrize("goes_by", ["image", "input_path"])
def test_a_retry_without_a_store_finds_what_is_paid_for(
    airflow_db, segmind_emulator, photos, tmp_path, quick_retries, no_store, deferrable, goes_by
):
    """The first try cannot fetch the output; the second one finds the request, also if the image was uploaded."""
    segmind_emulator.faults.add("output", "status:500", times=6)
    url, path = segmind_emulator.add_image(photos / "cat.jpg"), f"file://{photos / 'cat.jpg'}"
    with DAG("no_store", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale",
            **({"image": url} if goes_by == "image" else {"input_path": path}),
            destination=f"file://{tmp_path}/",
            deferrable=deferrable,
            poll_interval=0.25,
            **RETRY,
        )
    run = run_tasks(dag)
    assert run.state == "success"
    assert run.task("upscale").try_number == 2
    assert segmind_emulator.stats.submits_accepted == 1
    # The dag.test() of Airflow 3.0 resumes a deferred task that failed where it was, in place of a new try.
    assert deferrable or "of an earlier submit: nothing is billed again" in run.log
    assert [file.name for file in tmp_path.iterdir()] == ["upscale.jpg"]


def test_a_retry_without_a_store_takes_from_the_history_what_segmind_has_forgotten(
    airflow_db, segmind_emulator, photos, tmp_path, quick_retries, no_store
):
    segmind_emulator.reset(retention=1.5, latency=0.2)
    segmind_emulator.faults.add("output", "status:500", times=6)
    with DAG("no_store", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale",
            image=segmind_emulator.add_image(photos / "cat.jpg"),
            destination=f"file://{tmp_path}/",
            poll_interval=0.25,
            retries=1,
            retry_delay=timedelta(seconds=2),
        )
    run = run_tasks(dag)
    assert run.state == "success"
    assert segmind_emulator.stats.submits_accepted == 1
    assert run.xcom("upscale")["metrics"]["cost"] == 0.005
    assert [file.name for file in tmp_path.iterdir()] == ["upscale.jpg"]


def test_a_retry_without_a_store_attaches_to_what_runs(airflow_db, segmind_emulator, photos, no_store, deferrable):
    segmind_emulator.faults.add("submit", "stuck")
    with DAG("no_store", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale",
            image=segmind_emulator.add_image(photos / "cat.jpg"),
            deferrable=deferrable,
            poll_interval=0.25,
            timeout=1.2,
            **RETRY,
        )
    run = run_tasks(dag)
    assert run.state == "failed", "it did not finish in either try"
    assert run.task("upscale").try_number == 2
    assert segmind_emulator.stats.submits_accepted == 1


def test_a_retry_without_a_store_waits_for_a_history_that_is_silent(airflow_db, segmind_emulator, photos, no_store):
    """Whether the first try has paid cannot be found out, so the second one does not pay."""
    segmind_emulator.faults.add("submit", "stuck")
    segmind_emulator.faults.add("history", "status:500")
    with DAG("no_store", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale",
            image=segmind_emulator.add_image(photos / "cat.jpg"),
            poll_interval=0.25,
            timeout=1.2,
            lost_submit_wait=0.0,
            **RETRY,
        )
    run = run_tasks(dag)
    assert run.state == "failed"
    assert "the request history did not respond" in run.log
    assert "Nothing was submitted. Another try searches again" in run.log
    assert segmind_emulator.stats.submits_accepted == 1


def test_a_batch_without_a_store_finds_what_is_paid_for(
    airflow_db, segmind_emulator, photos, tmp_path, quick_polls, no_store, monkeypatch
):
    """The process dies after the submits, before anything was written."""
    images = [segmind_emulator.add_image(photos / name) for name in ("cat.jpg", "astronaut.png")]
    submitted, submit = [], BatchRun._submit

    def dies(self, *arguments):
        submit(self, *arguments)
        if not submitted:
            submitted.append(self)
            raise ConnectionError("the process is gone")

    def writes_nothing(self, rows):
        if submitted and not failed:
            failed.append(self)
            raise ConnectionError("the process is gone")
        write(self, rows)

    failed, write = [], BatchFolder.write
    monkeypatch.setattr(BatchRun, "_submit", dies)
    monkeypatch.setattr(BatchFolder, "write", writes_nothing)
    with DAG("no_store", schedule=None) as dag:
        SegmindBatchOperator(
            task_id="upscale",
            model="esrgan",
            items=images,
            destination=f"file://{tmp_path}/",
            poll_interval=0.25,
            **RETRY,
        )
    run = run_tasks(dag)
    assert run.state == "success"
    assert run.task("upscale").try_number == 2
    assert segmind_emulator.stats.submits_accepted == 2
    assert run.log.count("of an earlier submit: nothing is billed again") == 2


def test_what_a_process_has_pushed_reports_of_it(airflow_db):
    """Whatever number Airflow 3 gives the try; Airflow 2 reads the number from its database."""
    reported = []
    with DAG("pushed", schedule=None) as dag:

        @task(**RETRY)
        def poll(ti=None):
            started_with = getattr(ti, "_ti_context_from_server", None)
            reported.append(compat.has_run_before(SimpleNamespace(try_number=1, _ti_context_from_server=started_with)))
            if len(reported) == 1:
                ti.xcom_push(key="request_id", value="r")
                raise ConnectionError("once")

        poll()
    assert run_tasks(dag).state == "success"
    assert reported == [False, AIRFLOW >= (3, 0)]


# --- without a retry policy ----------------------------------------------------------------------------------------


def test_a_permanent_error_fails_at_once_whatever_the_policy(airflow_db, segmind_emulator):
    segmind_emulator.faults.add("submit", "status:403")
    with DAG("permanent", schedule=None) as dag:
        SegmindEsrganOperator(
            task_id="upscale",
            image="https://x.example/a.png",
            retry_policy=SegmindRetryPolicy(wait_for_credits=timedelta(hours=1)),
            **RETRY,
        )
    run = run_tasks(dag)
    assert run.state == "failed"
    assert run.task("upscale").try_number == 1
    assert segmind_emulator.stats.submits_attempted == 1


def test_a_policy_without_effect_is_reported(caplog):
    policy = SegmindRetryPolicy()
    operator = SegmindEsrganOperator(task_id="upscale", image="https://x.example/a.png", retry_policy=policy)
    assert compat.retry_policy_of(operator) is (policy if compat.HAS_RETRY_POLICIES else None)
    assert ("is ignored: it needs Airflow 3.3" in caplog.text) is not compat.HAS_RETRY_POLICIES


# --- without XComs from a trigger ----------------------------------------------------------------------------------


@pytest.mark.skipif(AIRFLOW >= (3, 3), reason="XComs from a trigger: before Airflow 3.3")
def test_no_xcom_from_a_trigger():
    ti = SimpleNamespace(dag_id="d", task_id="t", run_id="r", map_index=-1)
    with pytest.raises(NotImplementedError, match=r"before Airflow 3\.3"):
        asyncio.run(compat.aset_xcom(ti, "return_value", {}))
