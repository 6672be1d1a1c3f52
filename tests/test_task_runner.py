"""The task runner with the API in memory: it rejects what it does not support, and counts tries."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import DAG, Variable, task

from tests.airflow_versions import needs_task_state_store
from tests.task_runner import run_tasks

pytestmark = needs_task_state_store  # on older versions, run_tasks is run_dag


@task
def one() -> int:
    return 1


@task
def mapped(number: int) -> int:
    return number


@task
def fails() -> None:
    raise ValueError


@task
def sets_a_variable() -> None:
    Variable.set("a", "b")


@task.branch
def chooses() -> str:
    return "one"


def after_a_branch():
    chooses() >> [one(), mapped(1)]


def mapped_over_nothing():
    mapped.expand(number=[])


def another_rule():
    one.override(trigger_rule="all_done")()


@pytest.mark.parametrize("tasks", [sets_a_variable, after_a_branch, mapped_over_nothing, another_rule])
def test_unsupported_features_are_rejected(tasks):
    with DAG("refused", schedule=None) as dag:
        tasks()
    with pytest.raises(NotImplementedError, match="use run_dag"):
        run_tasks(dag)


def test_a_retry_delay_is_rejected():
    with DAG("waits", schedule=None) as dag:
        fails.override(retries=1)()
    with pytest.raises(ValueError, match=r"retry_delay=timedelta\(0\)"):
        run_tasks(dag)


def test_the_try_number_continues_after_a_clear():
    with DAG("tries", schedule=None) as dag:
        fails.override(retries=1, retry_delay=timedelta(0))() >> one()
    run = run_tasks(dag)
    assert run.states() == {"fails": ["failed"], "one": ["upstream_failed"]}
    assert run.task("fails").try_number == 2
    assert run.again("fails").task("fails").try_number == 4
    with pytest.raises(LookupError):
        run.again("missing")
