"""One Airflow for the session, set up before anything imports it; its database only where a test needs it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import airflow_env, groups, tiers

if TYPE_CHECKING:
    from tests.buckets import Bucket
    from tests.shared_airflow import SharedAirflow

_HOME = airflow_env.prepare()


def pytest_configure(config: pytest.Config) -> None:
    """Register the check of started processes and the distribution over workers."""
    config.pluginmanager.register(tiers.Watch())
    config.pluginmanager.register(groups.Distribution())


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return two workers more than there are cores: a test waits for half of its time."""
    return (os.cpu_count() or 1) + 2


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Start with the test of the whole Airflow, which takes longest, so that no worker is left alone with it.

    ``dag.test()`` comes next: those tests go to the same worker then, and Airflow's API is built in one or two of them.
    """
    items.sort(key=lambda item: (item.get_closest_marker("standalone") is None, not _takes_dag_test(item)))


def _takes_dag_test(item: pytest.Item) -> bool:
    return hasattr(getattr(item, "module", None), "run_dag") or "run_example" in getattr(item, "fixturenames", ())


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind."""
    logging.shutdown()
    airflow_env.discard(_HOME)


@pytest.fixture(scope="session")
def airflow_db() -> Path:
    """Airflow's database, empty at first; the value is Airflow's home. DAGs run on it by ``run_dag``."""
    airflow_env.make_database(_HOME)
    return _HOME


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of example pictures, see its README."""
    return Path(__file__).parent / "photos"


@pytest.fixture
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look after a quarter of a second: the emulator is done at once, and knows nothing of the models' real pace."""
    from airflow_provider_segmind.protocol.models import MODELS
    from airflow_provider_segmind.polling import schedule

    monkeypatch.setattr(schedule, "_FIRST", schedule.SHORTEST)
    for parameters in MODELS.values():
        monkeypatch.setattr(parameters, "expected_seconds", None)


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat a call at once: the pauses are proved in test_client.py."""
    from tenacity import wait_none

    from airflow_provider_segmind import retry_budget

    monkeypatch.setattr(retry_budget, "_BACKOFF", wait_none())


@pytest.fixture(scope="session")
def _s3_process() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # the store's log is not the task's
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_server(_s3_process: str) -> str:
    """The address of a server that speaks the real S3 protocol, without a bucket."""
    import httpx

    httpx.post(f"{_s3_process}/moto-api/reset", trust_env=False).raise_for_status()
    return _s3_process


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty, versioned bucket, and the connections ``images_s3`` and ``other_s3`` that lead to it."""
    from tests.buckets import BUCKET, Bucket

    connection = {
        "conn_type": "aws",
        "login": "testing",
        "password": "testing",
        "extra": {"endpoint_url": s3_server, "region_name": "us-east-1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_IMAGES_S3", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW_CONN_OTHER_S3", json.dumps(connection))
    found = Bucket(s3_server)
    found.client.create_bucket(Bucket=BUCKET)
    found.client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    return found


@pytest.fixture(scope="session")
def shared_airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedAirflow]:
    """The whole Airflow of the e2e and UI tests: started once, and left as it was by each of them."""
    from tests.shared_airflow import started

    with started(tmp_path_factory.mktemp("airflow") / "home") as running:
        yield running
