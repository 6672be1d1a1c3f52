"""
SIGKILL on every supported Airflow, run as processes. ``make matrix`` runs this file on each.

The table in ``compat.py`` lists what an Airflow lacks. Tasks work without it, and their logs state it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.airflow_versions import AIRFLOW
from tests.chaos.airflow2 import Rig2
from tests.chaos.cases import FAST, IN_A_WAVE, IN_THE_WAIT, cases
from tests.chaos.outcomes import (
    batch_rows,
    killed,
    left_over,
    logs_of,
    once_and_whole,
    outcomes,
    restart,
    waits_outlive,
)
from tests.chaos.rig import Rig

pytestmark = pytest.mark.chaos

BEFORE_3_3 = AIRFLOW < (3, 3)
#: What a retry logs of images that it has no request record of.
NO_RECORD = re.compile(r"Searching the request history for (\d+) request\(s\) that may have no record")
#: Of the model of a task that has to fail.
FAULT = "submit:fail:out of memory#1%nomos-upscaler"
#: They run at the same time, because most of their time is process starts and waits. The id of a run is its DAG's.
DAGS = ("chaos_fast", "chaos_every", "ends_in_the_triggerer")

#: Timeout of a run in seconds. It is long, because on SQLite Airflow 2 runs one task at a time.
LONG = 600


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Run the Airflow of this environment, with the runs of ``DAGS`` started."""
    kind = Rig if AIRFLOW >= (3, 0) else Rig2
    options = ("--latency", "1.5", "--faults", FAULT)
    with kind(tmp_path_factory.mktemp("chaos") / "home", dags=("chaos_kills",), emulator_options=options) as running:
        for dag_id in DAGS:
            running.api.trigger_dag(dag_id, run_id=dag_id)
        yield running
    assert not running.running(), "processes are left behind"


def finish(rig: Rig, dag_id: str) -> None:
    """Wait for the end of a run whose processes die, and assert its success."""
    state = rig.finish(dag_id, dag_id, seconds=LONG)
    if AIRFLOW == (3, 0):  # a task whose process is killed fails, whatever its retries, and the user clears it
        ends = {(ti["state"], ti["try_number"]) for ti in rig.api.instances(dag_id, dag_id)}
        assert ends == {("failed", 1)}, "Airflow 3.0 retried the tasks: remove this branch"
        rig.api.clear(dag_id, dag_id)
        state = rig.finish(dag_id, dag_id, seconds=LONG)
    assert state == "success"


def retries_search_for(rig: Rig, dag_id: str, wanted: dict[str, int]) -> None:
    """Assert the number of images without a record for each task: all of them before Airflow 3.3 (compat.py)."""
    logs = logs_of(rig, dag_id, dag_id, attempt="[2-4]")
    found = {name: [int(number) for number in NO_RECORD.findall(log)[:1]] for name, log in logs.items()}
    assert found == {name: [number] if number else [] for name, number in wanted.items()}


def test_each_image_is_paid_for_once_fast(rig, measure):
    chosen = {f"deferrable_{case.name}": case for case in cases("deferrable", FAST)}
    finish(rig, "chaos_fast")
    found = outcomes(rig, "chaos_fast", "chaos_fast", chosen)
    measure("fast kills", [one.row() for one in found])
    once_and_whole(found)
    assert killed(rig, "chaos_fast", "chaos_fast") == set(chosen)
    assert min(one.tries for one in found) >= 2  # a busy Airflow 2 may report a death twice, which costs another try
    assert not left_over(rig, "chaos_fast")
    retries_search_for(rig, "chaos_fast", dict.fromkeys(chosen, 1 if BEFORE_3_3 else 0))


def test_a_plain_wait_and_a_batch_continue_where_they_were_killed(rig, measure):
    finish(rig, "chaos_every")
    plain = f"plain_{IN_THE_WAIT.name}"
    [found] = outcomes(rig, "chaos_every", "chaos_every", {plain: IN_THE_WAIT})
    [batch] = batch_rows(rig, "chaos_every", "chaos_every", [IN_A_WAVE])
    measure("fast kills", [found.row(), batch])
    once_and_whole([found])
    assert killed(rig, "chaos_every", "chaos_every") == {plain, IN_A_WAVE.name}
    assert min(found.tries, batch["tries"]) >= 2
    assert not left_over(rig, "chaos_every")
    # The next wave of a batch has no record on any Airflow, because its intents are not written yet.
    numbers = {plain: 1, IN_A_WAVE.name: 6} if BEFORE_3_3 else {plain: 0, IN_A_WAVE.name: 2}
    retries_search_for(rig, "chaos_every", numbers)


def test_the_triggerer_ends_tasks_itself_and_resumes_what_failed(rig):
    """A success needs no second worker start, a failure does. Before Airflow 3.3 a worker pushes the result."""
    dag_id = "ends_in_the_triggerer"
    assert rig.finish(dag_id, dag_id, seconds=LONG) == "failed"
    instances = {ti["task_id"]: ti for ti in rig.api.instances(dag_id, dag_id)}
    assert {name: ti["state"] for name, ti in instances.items()} == {
        "first": "success",
        "second": "success",
        "fails": "failed",
        "after_first": "success",
        "after_second": "success",
        "after_fails": "upstream_failed",
    }
    logs = logs_of(rig, dag_id, dag_id, attempt="1")
    for name in ("first", "second"):
        returned = rig.api.returned(dag_id, dag_id, name)
        assert returned["status"] == "COMPLETED"
        assert returned["output"].startswith("http")
        assert rig.api.returned(dag_id, dag_id, f"after_{name}") == returned["request_id"]
        assert ("The triggerer cannot push the result" in logs[name]) is BEFORE_3_3
    assert "out of memory" in "\n".join(reported for _, reported in rig.task_errors())


def test_waits_outlive_the_triggerer(rig, measure):
    description = "the triggerer is killed while it waits, and started again"
    found = waits_outlive(rig, "wait", description, restart("triggerer"))
    measure("fast kills", [found[0].row() | {"mode": "deferrable"}])
    assert {one.tries for one in found} == {1}
