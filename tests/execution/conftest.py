"""What the tests of the engine share."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.polling import limit_file
from tests.execution.tasks import Task


@pytest.fixture
def task(airflow_db, segmind_emulator, photos, tmp_path, monkeypatch):
    """A task instance whose tries are run one after the other."""
    monkeypatch.setattr(limit_file.tempfile, "gettempdir", lambda: str(tmp_path))  # notes about limits are per machine
    made = Task(segmind_emulator, segmind_emulator.add_image(photos / "cat.jpg"))
    yield made
    made.hook.close()
