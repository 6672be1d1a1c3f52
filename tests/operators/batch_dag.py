"""A DAG with one batch, and readers of its results."""

from __future__ import annotations

import json
from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.operators.segmind import SegmindBatchOperator


def batch_dag(folder, items, **arguments):
    """Return a DAG with one batch of these items, which stores into the folder."""
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


def manifest_rows(folder):
    """Return the rows of the batch's manifest."""
    text = (folder / "upscale.manifest.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def images_in(folder):
    """Return the names of the stored images."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".jsonl")
