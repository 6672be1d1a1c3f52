"""
Decide per picture how it is upscaled, in TaskFlow style: ``@task.segmind``.

The function returns the model's parameters, and the task runs the model: here each picture is enlarged by the
smallest scale that makes it as wide as the run asks for. The function runs in a worker before the submit, and not
again after the wait; while Segmind computes the task sleeps in the triggerer. A retry finds the request that is
running by the parameters, so the function returns the same for the same input.

``report`` takes the results of all pictures like those of any other ``@task`` and sums their cost.
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
        "images": Param([BUTTERFLY], type="array", description="URL and width in pixels of each picture"),
        "width": Param(2000, type="integer", minimum=1, description="How wide they shall be (pixels)"),
        "destination": Param("file:///tmp/upscaled/taskflow/", type="string", description="Folder (with /)"),
    },
    default_args={"retries": 3},
    tags=["segmind", "example"],
    doc_md=__doc__,
)
def segmind_taskflow() -> None:
    @task
    def list_images(params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Return the run's pictures; their order is the map index."""
        return list((params or {})["images"])

    @task.segmind(model="esrgan", destination="{{ params.destination }}", deferrable=True)
    def upscale(image: dict[str, Any], params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Enlarge a picture by as much as it takes, but not more."""
        wanted = (params or {})["width"] / image["width"]
        scale = next((scale for scale in (2, 4, 8) if scale >= wanted), 8)
        return {"image": image["image"], "scale": scale, "output_format": "png"}

    @task
    def report(results: Any) -> float:
        """Return what the run's pictures cost, in credits."""
        cost: float = round(sum(result["metrics"]["cost"] for result in results), 6)
        return cost

    report(upscale.expand(image=list_images()))


segmind_taskflow()
