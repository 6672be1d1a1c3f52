"""A DAG with one batch, and what it leaves."""

from __future__ import annotations

import json
from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.operators.segmind import SegmindBatchOperator


def dag_of(folder, items, **arguments):
    with DAG("batch", schedule=None) as dag:
        SegmindBatchOperator(
            **{
                "task_id": "upscale",
                "model": "esrgan",
                "items": items,
                "destination": f"file://{folder}",
                "retries": 0,
                "retry_delay": timedelta(0),
                "lost_submit_wait": 0.5,
                **arguments,
            }
        )
    return dag


def rows_of(folder):
    text = (folder / "upscale.manifest.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def images_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".jsonl")
