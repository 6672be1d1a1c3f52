"""SegmindCreditsSensor in every mode, and ``check_credits``."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import DAG, task

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindEventError
from airflow_provider_segmind.operators.segmind import SegmindRunModelOperator, check_credits
from airflow_provider_segmind.protocol.credits import read_credits_event
from airflow_provider_segmind.sensors import base
from airflow_provider_segmind.sensors.segmind import SegmindCreditsSensor
from airflow_provider_segmind.triggers.credits import SegmindCreditsTrigger
from tests.airflow_versions import no_reschedule
from tests.task_runner import run_tasks

RETRY = {"retries": 1, "retry_delay": timedelta(0)}
MODES = {
    "deferrable": {"deferrable": True, "poll_interval": 0.2},
    "poke": {"mode": "poke", "poke_interval": 0.2},
    "reschedule": {"mode": "reschedule", "poke_interval": 0.2},
}


@pytest.fixture(params=[pytest.param(name, marks=no_reschedule if name == "reschedule" else ()) for name in MODES])
def mode(request, quick_retries, monkeypatch):
    monkeypatch.setattr(base, "not_before", lambda: 0.0)  # no scheduler runs here that could be late
    return MODES[request.param]


def wait_for(at_least, mode, **arguments):
    """Run a DAG of one sensor."""
    with DAG("credits", schedule=None, params={"least": 50}) as dag:
        SegmindCreditsSensor(task_id="wait", at_least=at_least, **{**RETRY, **mode, **arguments})
    return run_tasks(dag)


@pytest.mark.parametrize("at_least", [100, "{{ params.least * 2 }}", 0])
def test_the_sensor_succeeds_with_a_sufficient_balance(airflow_db, segmind_emulator, mode, at_least):
    run = wait_for(at_least, mode)
    assert run.state == "success"
    assert run.xcom("wait") == 100.0
    assert run.deferrals == 0
    assert segmind_emulator.stats.credits_reads == 1


def test_free_credits_are_part_of_the_balance(airflow_db, segmind_emulator, mode):
    segmind_emulator.reset(credits=3.0, free_credits=4.0)
    assert wait_for(7, mode).xcom("wait") == 7.0


def test_the_sensor_waits_for_a_top_up(airflow_db, segmind_emulator, mode):
    segmind_emulator.reset(credits=3.0)

    def top_up():
        segmind_emulator.state.balance = 60.0

    timer = threading.Timer(1.5, top_up)
    timer.start()
    run = wait_for(50, mode, timeout=20)
    timer.join()
    assert run.state == "success"
    assert run.xcom("wait") == 60.0
    assert run.task("wait").try_number == 1
    assert segmind_emulator.stats.credits_reads >= 2


def test_a_missing_balance_record_is_a_balance_of_zero(airflow_db, segmind_emulator, mode):
    segmind_emulator.reset(balance_record=False)
    assert wait_for(0, mode).xcom("wait") == 0.0
    assert wait_for(1, mode, timeout=0.5).state == "failed"


@pytest.mark.parametrize("soft_fail", [False, True])
def test_the_sensor_fails_or_skips_after_its_timeout(airflow_db, segmind_emulator, mode, soft_fail):
    segmind_emulator.reset(credits=3.0)
    run = wait_for(50, mode, timeout=0.7, soft_fail=soft_fail)
    assert run.states() == {"wait": ["skipped" if soft_fail else "failed"]}
    assert run.task("wait").try_number == 1
    if not soft_fail:
        assert "the balance is 3 credits after 0.7 s, but at_least requires 50" in run.log
    assert segmind_emulator.stats.credits_reads <= 6


def test_the_sensor_tolerates_gateway_errors(airflow_db, segmind_emulator, mode):
    segmind_emulator.faults.add("credits", "status:503", times=7)
    run = wait_for(50, mode, timeout=60)
    assert run.state == "success"
    assert run.task("wait").try_number == 1


@pytest.mark.parametrize("times", [None, 1], ids=["from the start", "later"])
@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_refused_key_fails_the_sensor_at_once(airflow_db, segmind_emulator, mode, soft_fail, times):
    segmind_emulator.reset(credits=3.0)
    if times:  # the first poll succeeds
        segmind_emulator.faults.add("credits", "delay:0", times=1)
    segmind_emulator.faults.add("credits", "status:401")
    run = wait_for(50, mode, timeout=60, soft_fail=soft_fail)
    assert run.states() == {"wait": ["skipped" if soft_fail else "failed"]}
    assert run.task("wait").try_number == 1
    if not soft_fail:
        assert "Segmind refused the API key" in run.log


@pytest.mark.parametrize("wrong", [-1, float("nan"), None, True])
def test_an_invalid_at_least_breaks_the_import(wrong):
    with pytest.raises(SegmindConfigError, match="at_least must be a number of credits"):
        SegmindCreditsSensor(task_id="wait", at_least=wrong)


@pytest.mark.parametrize("wrong", ["{{ '' }}", "{{ 'many' }}"])
def test_an_at_least_that_does_not_render_to_a_number_fails_the_task(airflow_db, segmind_emulator, mode, wrong):
    run = wait_for(wrong, mode)
    assert (run.state, run.task("wait").try_number) == ("failed", 1)
    assert "at_least must be a number of credits" in run.log
    assert segmind_emulator.stats.credits_reads == 0


def test_the_trigger_serializes_all_its_arguments():
    path, arguments = SegmindCreditsTrigger("c", 5.0, 100.0, 60.0, 7.0).serialize()
    assert path == "airflow_provider_segmind.triggers.credits.SegmindCreditsTrigger"
    assert vars(SegmindCreditsTrigger(**arguments)).items() >= arguments.items()
    assert set(arguments) == {"segmind_conn_id", "at_least", "deadline", "poll_interval", "not_before"}


@pytest.mark.parametrize("payload", [None, {}, {"kind": "completed"}, {"kind": "credits", "version": 2, "balance": 1}])
def test_an_invalid_event_is_rejected(payload):
    if payload == {}:
        assert read_credits_event(payload).balance is None  # an unknown balance covers nothing
        return
    with pytest.raises(SegmindEventError):
        read_credits_event(payload)


# --- check_credits ---------------------------------------------------------------------------------------------------


def check_then_run(at_least):
    """Run a DAG that checks the credits before it runs a model."""
    with DAG("checked", schedule=None) as dag:
        check = task(check_credits).override(**RETRY)(at_least)
        check >> SegmindRunModelOperator(task_id="run", model="echo-model", parameters={"prompt": "x"})
    return run_tasks(dag)


def test_check_credits_returns_a_sufficient_balance(airflow_db, segmind_emulator):
    run = check_then_run(at_least=99)
    assert run.states() == {"check_credits": ["success"], "run": ["success"]}
    assert run.xcom("check_credits") == 100.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"credits": 3.0}, "the balance is 3 credits, but at_least requires 99"),
        ({"balance_record": False}, "is 0 credits"),
    ],
)
def test_check_credits_fails_without_a_retry_if_the_balance_is_too_low(airflow_db, segmind_emulator, settings, message):
    segmind_emulator.reset(**settings)
    run = check_then_run(at_least=99)
    assert run.states() == {"check_credits": ["failed"], "run": ["upstream_failed"]}
    assert run.task("check_credits").try_number == 1
    assert message in run.log
    assert segmind_emulator.stats.submits_attempted == 0


def test_check_credits_is_retried_after_gateway_errors(airflow_db, segmind_emulator, quick_retries):
    segmind_emulator.faults.add("credits", "status:503", times=6)
    run = check_then_run(at_least=1)
    assert run.task("check_credits").try_number == 2
    assert run.state == "success"
