"""The alternatives: the vendor's SDK in a task, and Airflow's HTTP operators."""

from __future__ import annotations

import os
from typing import Any

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG, task, task_group

COUNTS = [int(count) for count in os.environ["BENCH_COUNTS"].split(",")]
IMAGES = os.environ["BENCH_IMAGES"]


@task
def upscale(image: str) -> dict[str, Any]:
    """Submit and wait, as the SDK's page shows it."""
    from segmind import SegmindClient  # type: ignore[import-untyped]

    client = SegmindClient(base_url=os.environ["BENCH_GATEWAY"] + "/v1")
    received: dict[str, Any] = client.run("esrgan", image=image, scale=2)
    return received


def is_completed(response: Any) -> bool:
    """Read the status in the body, because the HTTP status is 200 while the request is still queued."""
    return bool(response.json()["status"] == "COMPLETED")


@task_group
def submit_and_wait(data: str) -> None:
    """Submit, and poke until the request is completed. Between two pokes no worker is held."""
    submit = HttpOperator(
        task_id="submit",
        http_conn_id="segmind_http",
        endpoint="v2/esrgan",
        headers={"Content-Type": "application/json"},
        data=data,
        response_filter=lambda response: response.json()["request_id"],
    )
    HttpSensor(
        task_id="wait",
        http_conn_id="segmind_http",
        endpoint="v2/requests/{{ ti.xcom_pull(task_ids='submit_and_wait.submit', map_indexes=ti.map_index) }}/status",
        response_check=is_completed,
        mode="reschedule",
        poke_interval=2,
    ).set_upstream(submit)


for count in COUNTS:
    images = [f"{IMAGES}/{number}.jpg" for number in range(count)]

    with DAG(f"sdk_{count}", schedule=None):
        upscale.expand(image=images)

    with DAG(f"http_{count}", schedule=None):
        submit_and_wait.expand(data=[f'{{"image": "{image}", "scale": 2}}' for image in images])
