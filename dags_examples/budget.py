"""
Upscale a list of images, and fail the run if it cost more than its budget.

``afford`` fails before the run spends anything if the account's balance does not cover ``budget``. Each mapped task
of ``upscale`` returns its cost in USD as ``metrics.cost``. ``total`` sums the costs and fails if the sum exceeds
``budget``. It is not retried, because the sum would be the same. The stored images stay stored, but no task after
``total`` runs.

The budget of this DAG is checked after the money is spent. To check the balance before each submit, give the
operators ``min_remaining_credits=``.

Set up: the connection ``segmind_default`` with your API key. To run the DAG offline and without a key, start
``python -m airflow_provider_segmind.emulator``, use its address as the connection's host and the key that it prints
as the password, and set ``images`` to URLs of sample images that the emulator prints.
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
        "images": Param(["https://www.segmind.com/butterfly.png"], type="array", description="URLs of the images"),
        "destination": Param("file:///tmp/upscaled/budget/", type="string", description="Folder (with /)"),
        "budget": Param(0.1, type="number", minimum=0, description="Budget of the run in USD"),
    },
    default_args={"retries": 3},
    tags=["segmind", "example"],
    doc_md=__doc__,
)
def segmind_budget() -> None:
    @task
    def afford(params: dict[str, Any] | None = None) -> float:
        """Return the balance in credits; fail if it does not cover the budget."""
        return check_credits(at_least=(params or {})["budget"])

    @task
    def list_images(params: dict[str, Any] | None = None) -> list[str]:
        """Return the run's images; their order is the map index."""
        return list((params or {})["images"])

    @task(retries=0)
    def total(results: Any, params: dict[str, Any] | None = None) -> float:
        """Return the cost of the run's images in USD; fail if it exceeds the budget."""
        costs = [result["metrics"]["cost"] for result in results]
        if None in costs:
            raise ValueError(f"the cost of {costs.count(None)} of {len(costs)} images is unknown: check it at Segmind")
        spent: float = round(sum(costs), 6)
        budget = (params or {})["budget"]
        if spent > budget:
            raise ValueError(f"{len(costs)} images cost {spent:g} USD, the budget is {budget:g}")
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
