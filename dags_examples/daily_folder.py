"""
Upscale each day's folder of pictures, and tell the DAGs that wait for them.

Every night the folder ``source/<day>/`` is listed, a mapped task for each picture waits in the triggerer while Segmind
computes, and stores what comes back under ``destination/<day>/``. Each stored picture is an event of the asset alias
``segmind_upscaled``, with its manifest as ``extra``: model, request id, cost, size, checksum, where it came from. DAGs
that are scheduled on the alias, such as the example ``segmind_contact_sheet``, start by themselves.

What is there already, made from the same picture with the same parameters, is neither paid for nor told again, so a
run can be repeated at any time, for a day to which a picture was added. A day without a folder is an error; an empty
folder is none.
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
        "source": Param("file:///tmp/pictures", type="string", description="Folder of the days' folders"),
        "destination": Param("file:///tmp/upscaled", type="string", description="Folder for what comes back"),
    },
    default_args={"retries": 3},  # a retry attaches to the request that is running: it is paid for once
    tags=["segmind", "example"],
    doc_md=__doc__,
)
def segmind_daily_folder() -> None:
    # A run that is started by hand has no logical date, but every run has a day on which it is due.
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
