"""The minimum that Airflow needs: tasks that do nothing, one or two for each image."""

from __future__ import annotations

import os

from airflow.sdk import DAG, task, task_group

COUNTS = [int(count) for count in os.environ["BENCH_COUNTS"].split(",")]


@task
def nothing(number: int) -> int:
    """Start and end without work."""
    return number


@task_group
def pair(number: int) -> None:
    """Run two tasks in sequence, like the two starts of a deferrable operator."""
    nothing.override(task_id="second")(nothing.override(task_id="first")(number))  # type: ignore[arg-type]


for count in COUNTS:
    with DAG(f"floor_once_{count}", schedule=None):
        nothing.expand(number=list(range(count)))

    with DAG(f"floor_twice_{count}", schedule=None):
        pair.expand(number=list(range(count)))
