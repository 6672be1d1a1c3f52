"""
Upscale each day's folder of images, and start the DAGs that are scheduled on them.

Every night the DAG lists the folder ``source/<day>/`` and runs one mapped task for each image. The task waits in the
triggerer while Segmind computes, and stores the output in ``destination/<day>/``. Each stored image emits an event of
the asset alias ``segmind_upscaled``. The event's ``extra`` has the model, the request id, the cost, the size, the
checksum and the source. DAGs that are scheduled on the alias, such as the example ``segmind_contact_sheet``, start
automatically.

A task submits nothing if the output of the same image with the same parameters is stored already; it emits no event
either. So you can run a day again after you added an image. A missing folder fails the run; an empty folder does not.

Set up: the connection ``segmind_default`` with your API key, and a folder ``source/<day>/`` (``<day>`` is the day of
the run, such as 2026-01-31). To run the DAG offline and without a key, start
``python -m airflow_provider_segmind.emulator`` and use its address as the connection's host and
the key that it prints as the password.
"""

from __future__ import annotations

import pendulum
from airflow.sdk import AssetAlias, Param, dag, task

from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator
from airflow_provider_segmind.storage import list_images

UPSCALED = "segmind_upscaled"


@dag(
    schedule="@daily",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    params={
        "source": Param("file:///tmp/images", type="string", description="Folder with one folder for each day"),
        "destination": Param("file:///tmp/upscaled", type="string", description="Folder for the outputs"),
    },
    default_args={"retries": 3},  # a retry reattaches to the running request: it is billed once
    tags=["segmind", "example"],
    doc_md=__doc__,
)
def segmind_daily_folder() -> None:
    # A run that is started by hand has no logical date, but every run has a run_after.
    images = task(list_images)("{{ params.source }}/{{ dag_run.run_after | ds }}")

    SegmindEsrganOperator.partial(
        task_id="upscale",
        scale=2,
        output_format="png",
        destination="{{ params.destination }}/{{ dag_run.run_after | ds }}/{stem}.{ext}",
        skip_existing=True,
        deferrable=True,
        outlets=[AssetAlias(UPSCALED)],
        map_index_template="{{ task.input_path.rsplit('/', 1)[-1] }}",
    ).expand(input_path=images)


segmind_daily_folder()
