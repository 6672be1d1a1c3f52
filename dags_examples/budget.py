"""
Upscale a list of pictures, and fail past a budget.

Every upscaling task returns what it cost, in credits, as ``metrics.cost``. ``total`` sums that of a whole run and
fails where it is more than the run's budget: what is stored stays stored, but nothing that comes after ``total`` goes
on, and whoever looks after the pipeline hears of it. It is not tried again, because another try sums the same.
Before the run spends anything, ``afford`` asserts that the account's balance covers the budget.

A budget is looked at when the money is spent. To have a run stop before that, give the operators
``min_remaining_credits=``; each of them then asks for the balance before it submits.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator, check_credits


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    params={
        "images": Param(["https://www.segmind.com/butterfly.png"], type="array", description="URLs of the pictures"),
        "destination": Param("file:///tmp/upscaled/budget/", type="string", description="Folder (with /)"),
        "budget": Param(0.1, type="number", minimum=0, description="What the run may cost, in credits"),
    },
    default_args={"retries": 3},
    tags=["segmind", "example"],
    doc_md=__doc__,
)
def segmind_budget() -> None:
    @task
    def afford(params: dict[str, Any] | None = None) -> float:
        """Return the balance in credits; fail at once where it does not cover the budget."""
        return check_credits(at_least=(params or {})["budget"])

    @task
    def list_images(params: dict[str, Any] | None = None) -> list[str]:
        """Return the run's pictures; their order is the map index."""
        return list((params or {})["images"])

    @task(retries=0)
    def total(results: Any, params: dict[str, Any] | None = None) -> float:
        """Return what the run's pictures cost, in credits; fail where that is more than the budget."""
        costs = [result["metrics"]["cost"] for result in results]
        if None in costs:
            raise ValueError(f"{costs.count(None)} of {len(costs)} pictures do not tell what they cost")
        spent: float = round(sum(costs), 6)
        budget = (params or {})["budget"]
        if spent > budget:
            raise ValueError(f"{len(costs)} pictures cost {spent:g} credits, the budget is {budget:g}")
        return spent

    images = list_images()
    afford() >> images

    upscale = SegmindEsrganOperator.partial(
        task_id="upscale",
        destination="{{ params.destination }}",
        deferrable=True,
    ).expand(image=images)

    total(upscale.output)


segmind_budget()
