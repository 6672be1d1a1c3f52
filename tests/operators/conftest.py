"""Fixtures of the operators' tests."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import DAG

from airflow_provider_segmind.operators.segmind import SegmindEsrganOperator
from airflow_provider_segmind.polling import limit_file
from tests.task_runner import run_tasks


@pytest.fixture(params=[True, False], ids=["deferrable", "plain"])
def deferrable(request):
    return request.param


@pytest.fixture
def upscale(airflow_db, segmind_emulator, quick_polls, photos, tmp_path):
    """Return a function that runs one upscaling task, mapped with ``expand``."""

    def run(operator=SegmindEsrganOperator, expand=None, **arguments):
        arguments = {"retries": 1, "retry_delay": timedelta(0), "poll_interval": 0.25} | arguments
        if not expand and "image" not in arguments:
            arguments = {"input_path": f"file://{photos}/cat.jpg"} | arguments
        with DAG("outputs", schedule=None) as dag:
            if expand:
                operator.partial(task_id="t", **arguments).expand(**expand)
            else:
                operator(task_id="t", **arguments)
        return run_tasks(dag)

    return run


@pytest.fixture
def own_rate_limit_files(tmp_path, monkeypatch):
    """Keep the files of the rate limiter, which all tasks of a machine share, to one test."""
    monkeypatch.setattr(limit_file.tempfile, "gettempdir", lambda: str(tmp_path))


@pytest.fixture
def images(segmind_emulator, photos):
    """Return a function that returns the URLs of a number of different images."""

    def make(count):
        names = sorted(path for path in photos.iterdir() if path.suffix in (".jpg", ".png"))
        return [segmind_emulator.add_image(names[i % len(names)], name=f"image-{i}.png") for i in range(count)]

    return make


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"
