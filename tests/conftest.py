"""One Airflow for the session, set up before anything imports it; its database only where a test needs it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests import airflow_env

_HOME = airflow_env.prepare()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind."""
    logging.shutdown()
    airflow_env.discard(_HOME)


@pytest.fixture(scope="session")
def airflow_db() -> Path:
    """Airflow's database, empty at first; the value is Airflow's home. DAGs run on it by ``run_dag``."""
    airflow_env.make_database()
    return _HOME


@pytest.fixture(scope="session")
def photos() -> Path:
    """The folder of example pictures, see its README."""
    return Path(__file__).parent / "photos"


@pytest.fixture
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look after a quarter of a second: the emulator is done at once, and knows nothing of the models' real pace."""
    from airflow_provider_segmind.protocol import polling
    from airflow_provider_segmind.protocol.models import MODELS

    monkeypatch.setattr(polling, "_FIRST", polling.SHORTEST)
    for parameters in MODELS.values():
        monkeypatch.setattr(parameters, "expected_seconds", None)
