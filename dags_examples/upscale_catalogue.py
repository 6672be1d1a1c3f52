"""
Upscale a folder of pictures, store them, and keep a catalogue of them in a database.

Each picture goes its own way through three tasks, so that one that fails holds up no other: ``upscale`` (ESRGAN),
``store`` (into any object storage), ``record`` (a row in the table ``segmind_catalogue``: where it came from, where
it lies, its pixels before and after, its checksum, what it cost and how long it took). A row is known by its
request id: clear ``store`` and ``record`` as often as you like, nothing is doubled and nothing is paid again.

The catalogue lies wherever the connection ``segmind_catalogue`` points to, with no change here: SQLite, PostgreSQL,
or any other database whose Airflow provider can replace rows. To try it on one machine (Airflow takes an
absolute path after two slashes, so three in all)::

    pip install apache-airflow-providers-common-sql apache-airflow-providers-sqlite
    export AIRFLOW_CONN_SEGMIND_CATALOGUE=sqlite:///tmp/segmind_catalogue.db
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.sdk import ObjectStoragePath, Param, dag, task, task_group

from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator
from airflow_provider_segmind.storage import list_images
from airflow_provider_segmind.transfers.segmind_to_object_storage import SegmindToObjectStorageOperator

TABLE = "segmind_catalogue"
# Types that SQLite and PostgreSQL both know.
CREATE_TABLE = f"""
CREATE TABLE IF NOT EXISTS {TABLE} (
    request_id        VARCHAR(64) PRIMARY KEY,
    model             VARCHAR(100) NOT NULL,
    source            TEXT NOT NULL,
    source_width      INTEGER NOT NULL,
    source_height     INTEGER NOT NULL,
    uri               TEXT NOT NULL,
    width             INTEGER NOT NULL,
    height            INTEGER NOT NULL,
    bytes             BIGINT NOT NULL,
    sha256            CHAR(64) NOT NULL,
    cost_credits      DOUBLE PRECISION,
    inference_seconds DOUBLE PRECISION,
    queue_seconds     DOUBLE PRECISION,
    total_seconds     DOUBLE PRECISION,
    recorded_at       TIMESTAMP WITH TIME ZONE NOT NULL
)
"""


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    params={
        "source": Param("file:///tmp/pictures", type="string", description="Folder of pictures"),
        "destination": Param("file:///tmp/upscaled", type="string", description="Folder for what comes back"),
        "scale": Param(2, type="integer", enum=[2, 4, 8], description="By how much"),
        "catalogue_conn_id": Param("segmind_catalogue", type="string", description="Connection of the database"),
    },
    tags=["segmind", "example"],
    doc_md=__doc__,
)
def segmind_upscale_catalogue() -> None:
    create_table = SQLExecuteQueryOperator(
        task_id="create_table",
        conn_id="{{ params.catalogue_conn_id }}",
        sql=CREATE_TABLE,
    )

    @task(retries=3)
    def record(conn_id: str, source: str, result: Any) -> str:
        """Write the picture's row, or write it anew; return the request id by which it is known."""
        from airflow.providers.common.sql.hooks.sql import DbApiHook

        from airflow_provider_segmind.storage import image_size

        with ObjectStoragePath(source).open("rb") as file:  # type: ignore[no-untyped-call]
            source_width, source_height = image_size(file)  # reads the header only
        [stored], metrics = result["stored"], result["metrics"]
        row = {
            "request_id": result["request_id"],
            "model": result["model"],
            "source": source,
            "source_width": source_width,
            "source_height": source_height,
            "uri": stored["uri"],
            "width": stored["width"],
            "height": stored["height"],
            "bytes": stored["bytes"],
            "sha256": stored["sha256"],
            "cost_credits": metrics["cost"],
            "inference_seconds": metrics["inference_time"],
            "queue_seconds": metrics["queue_time"],
            "total_seconds": metrics["total_time"],
            "recorded_at": pendulum.now("UTC").isoformat(),
        }
        hook: DbApiHook = DbApiHook.get_hook(conn_id)
        # The hook binds the values and knows its database's way to replace a row.
        hook.insert_rows(TABLE, [tuple(row.values())], list(row), replace=True, replace_index="request_id")
        return str(row["request_id"])

    @task_group
    def image(source: str) -> None:
        upscale = SegmindEsrganOperator(
            task_id="upscale",
            input_path=source,
            scale="{{ params.scale }}",
            output_format="png",
            deferrable=True,
            retries=3,  # a retry attaches to the request that is running: it is paid for once
        )
        store = SegmindToObjectStorageOperator(
            task_id="store",
            result=upscale.output,
            destination="{{ params.destination }}/",
            retries=3,
        )
        record("{{ params.catalogue_conn_id }}", source, store.output)

    create_table >> image.expand(source=task(list_images)("{{ params.source }}"))


segmind_upscale_catalogue()
