"""The same kills for the alternatives: the vendor's SDK in a @task, and Airflow's HTTP operators."""

from __future__ import annotations

import os
from datetime import timedelta

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG, task

from tests.chaos.cases import HTTP_KILLS, SDK_KILLS
from tests.chaos.kills import arm
from tests.chaos.peers import output_of, save, upscale_by_sdk

IMAGES, OUT = os.environ["CHAOS_IMAGES"], os.environ["CHAOS_OUT"]
LONG = {"retries": 3, "retry_delay": timedelta(seconds=1)}

with DAG("chaos_sdk", schedule=None, default_args=LONG):
    for case in SDK_KILLS:
        task(task_id=f"sdk_{case}")(upscale_by_sdk)(
            f"{IMAGES}/{{{{ run_id }}}}-{case}.jpg", f"{OUT}/{{{{ run_id }}}}/{case}.jpg"
        )
arm({f"sdk_{case}": kill for case, kill in SDK_KILLS.items()})

#: Case -> the task of an image that is killed.
WHERE = {"before_post": "submit", "after_response": "submit", "in_the_wait": "wait"}

with DAG("chaos_http", schedule=None, default_args=LONG):
    for case in HTTP_KILLS:
        submit = HttpOperator(
            task_id=f"submit_{case}",
            http_conn_id="segmind_http",
            endpoint="v2/esrgan",
            headers={"Content-Type": "application/json"},
            data=f'{{"image": "{IMAGES}/{{{{ run_id }}}}-{case}.jpg", "scale": 2}}',
            response_filter=lambda response: response.json()["request_id"],
        )
        wait = HttpSensor(
            task_id=f"wait_{case}",
            http_conn_id="segmind_http",
            endpoint=f"v2/requests/{{{{ ti.xcom_pull(task_ids='submit_{case}') }}}}/status",
            response_check=lambda response: response.json()["status"] == "COMPLETED",
            poke_interval=1,
            mode="poke",
        )
        result = HttpOperator(
            task_id=f"result_{case}",
            http_conn_id="segmind_http",
            endpoint=f"v2/requests/{{{{ ti.xcom_pull(task_ids='submit_{case}') }}}}",
            method="GET",
            response_filter=lambda response: output_of(response.json()),
        )
        stored = task(task_id=f"save_{case}")(save)(
            result.output,  # type: ignore[arg-type]  # an XComArg becomes its value
            f"{OUT}/{{{{ run_id }}}}/{case}.jpg",
        )
        submit >> wait >> result >> stored
arm({f"{WHERE.get(case, 'save')}_{case}": kill for case, kill in HTTP_KILLS.items()})
