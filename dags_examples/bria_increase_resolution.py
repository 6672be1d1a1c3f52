"""
Increase the resolution of one image with Bria: transparency kept, content moderation optional.

Bria takes URLs only, so ``image`` is the URL of your image. For an image in your own storage, give the operator
``input_path=`` instead of ``image=``: the task uploads the image to Segmind first. The task stores the output in
``destination``.

If moderation blocks the image, the task fails and its log names the reason. Segmind does not charge the request, and
Airflow does not retry the task, because Segmind would block the same image again. Airflow retries the task after
errors that can pass, such as an unavailable gateway or an unavailable storage.

Set up: the connection ``segmind_default`` with your API key. To run the DAG offline and without a key, start
``python -m airflow_provider_segmind.emulator``, use its address as the connection's host and the key that it prints
as the password, and set ``image`` to the URL of a sample image that the emulator prints.
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
            description="URL of the image",
        ),
        "desired_increase": Param(4, type="integer", enum=[2, 4], description="Factor of the enlargement"),
        "preserve_alpha": Param(default=True, type="boolean", description="Keep transparency"),
        "moderate_input": Param(default=False, type="boolean", description="Moderate the input"),
        "moderate_output": Param(default=False, type="boolean", description="Moderate the output"),
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
        retries=2,  # a retry reattaches to the running request: it is billed once
        retry_delay=timedelta(seconds=30),
    )


segmind_bria_increase_resolution()
