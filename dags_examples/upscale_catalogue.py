"""
Upscale a folder of images, store them, and record each of them in a database table.

Three tasks run for each image, so that a failure stops one image only: ``upscale`` (ESRGAN), ``store`` (into any
object storage) and ``record``. ``record`` writes a row to the table ``segmind_catalogue``: source, stored URI, size
before and after, checksum, cost and duration. The request id is the row's primary key: you can clear ``store`` and
``record`` as often as you like without a duplicate row and without another bill.

Set up: the connection ``segmind_default`` with your API key, a folder of images as ``source``, and the connection
``segmind_catalogue`` to SQLite, PostgreSQL or any other database whose Airflow provider can replace rows. To try it
on one machine (Airflow takes an absolute path after two slashes, so there are three)::

    pip install apache-airflow-providers-common-sql apache-airflow-providers-sqlite
    export AIRFLOW_CONN_SEGMIND_CATALOGUE=sqlite:///tmp/segmind_catalogue.db

To run the DAG offline and without a key, start ``python -m airflow_provider_segmind.emulator`` and use its address as
the host of ``segmind_default`` and the key that it prints as the password.
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
# Types that both SQLite and PostgreSQL support.
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
        "source": Param("file:///tmp/images", type="string", description="Folder of images"),
        "destination": Param("file:///tmp/upscaled", type="string", description="Folder for the outputs"),
        "scale": Param(2, type="integer", enum=[2, 4, 8], description="Factor of the enlargement"),
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
        """Insert or replace the image's row, and return its request id."""
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
        # The hook binds the values and uses its database's statement to replace a row.
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
            retries=3,  # a retry reattaches to the running request: it is billed once
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
