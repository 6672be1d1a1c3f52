"""
Choose the scale of each image in a TaskFlow function: ``@task.segmind``.

The function returns the model's parameters, and the task runs the model. Here the function chooses the smallest scale
that makes the image at least as wide as the parameter ``width``. The function runs in a worker before the submit, and
not again after the wait. The task waits in the triggerer while Segmind computes. A retry finds the running request by
its parameters, so the function must return the same parameters for the same input.

``report`` takes the results of all images, like those of any other ``@task``, and sums their cost.

Set up: the connection ``segmind_default`` with your API key. To run the DAG offline and without a key, start
``python -m airflow_provider_segmind.emulator``, use its address as the connection's host and the key that it prints
as the password, and set ``images`` to URLs of sample images that the emulator prints.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

BUTTERFLY = {"image": "https://www.segmind.com/butterfly.png", "width": 512}


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    params={
        "images": Param([BUTTERFLY], type="array", description="URL and width in pixels of each image"),
        "width": Param(2000, type="integer", minimum=1, description="Wanted width in pixels"),
        "destination": Param("file:///tmp/upscaled/taskflow/", type="string", description="Folder (with /)"),
    },
    default_args={"retries": 3},
    tags=["segmind", "example"],
    doc_md=__doc__,
)
def segmind_taskflow() -> None:
    @task
    def list_images(params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the run's images; their order is the map index."""
        return list((params or {})["images"])

    @task.segmind(model="esrgan", destination="{{ params.destination }}", deferrable=True)
    def upscale(image: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the parameters for the smallest scale that reaches the wanted width."""
        wanted = (params or {})["width"] / image["width"]
        scale = next((scale for scale in (2, 4, 8) if scale >= wanted), 8)
        return {"image": image["image"], "scale": scale, "output_format": "png"}

    @task
    def report(results: Any) -> float:
        """Return the cost of the run's images in USD."""
        cost: float = round(sum(result["metrics"]["cost"] for result in results), 6)
        return cost

    report(upscale.expand(image=list_images()))


segmind_taskflow()
