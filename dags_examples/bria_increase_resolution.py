"""
Increase the resolution of one picture with Bria, with transparency kept and content moderation as a choice.

A picture that moderation blocks ends as a failed task that says so; it is not charged, and not tried again, because
the same picture would be blocked again. What may pass (a gateway in trouble, a store that is down) is tried again.

Start it with other parameters for another picture: Bria takes URLs only. For a picture in your own storage, give the
operator ``input_path=`` instead of ``image=``: it is uploaded to Segmind first.
"""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import Param, dag

from airflow_provider_segmind.operators.segmind import SegmindBriaIncreaseResolutionOperator


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    params={
        "image": Param(
            "https://segmind-inference-inputs.s3.amazonaws.com/17cd85f6-602b-4f08-8d76-01564d2c7bde-299f0158-c9d6-4142-bddb-b8c5fa61504a.jpeg",
            type="string",
            description="URL of the picture",
        ),
        "desired_increase": Param(4, type="integer", enum=[2, 4], description="By how much"),
        "preserve_alpha": Param(default=True, type="boolean", description="Keep transparency"),
        "moderate_input": Param(default=False, type="boolean", description="Moderate the picture"),
        "moderate_output": Param(default=False, type="boolean", description="Moderate the result"),
        "destination": Param("file:///tmp/upscaled/bria/", type="string", description="Folder (with /) or object"),
    },
    tags=["segmind", "example"],
    doc_md=__doc__,
)
def segmind_bria_increase_resolution() -> None:
    SegmindBriaIncreaseResolutionOperator(
        task_id="upscale",
        image="{{ params.image }}",
        desired_increase="{{ params.desired_increase }}",
        preserve_alpha="{{ params.preserve_alpha }}",
        visual_input_content_moderation="{{ params.moderate_input }}",
        visual_output_content_moderation="{{ params.moderate_output }}",
        destination="{{ params.destination }}",
        deferrable=True,
        retries=2,  # a retry attaches to the request that is running: it is paid for once
        retry_delay=timedelta(seconds=30),
    )


segmind_bria_increase_resolution()
