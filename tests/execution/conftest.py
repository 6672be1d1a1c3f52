"""What the tests of the engine share."""

from __future__ import annotations

import pytest

from airflow_provider_segmind.execution.folder import StorageFolder
from airflow_provider_segmind.execution.instance import Instance
from airflow_provider_segmind.execution.manifest import BatchFolder
from airflow_provider_segmind.polling import limit_file
from tests.execution.tasks import Task


@pytest.fixture
def task(airflow_db, segmind_emulator, photos, tmp_path, monkeypatch):
    """A task instance whose tries are run one after the other."""
    monkeypatch.setattr(limit_file.tempfile, "gettempdir", lambda: str(tmp_path))  # notes about limits are per machine
    made = Task(segmind_emulator, segmind_emulator.add_image(photos / "cat.jpg"))
    yield made
    made.hook.close()


@pytest.fixture
def folder(airflow_db, tmp_path):
    """Open the folder of a batch for a task instance."""

    def made(task_id="t", map_index=-1, *, run_id="r", try_number=1, is_working=lambda owner: None):
        files = StorageFolder(f"file://{tmp_path}/out/{{model}}", conn_id=None, model="esrgan")
        return BatchFolder(files, Instance("d", run_id, task_id, map_index, try_number), is_working)

    return made
