"""Run the examples against the emulator."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow.sdk import DAG

    from tests.airflow_env import Run

EXAMPLES = Path(__file__).parents[2] / "dags_examples"


def example(name: str) -> DAG:
    """Return the DAG of one example file."""
    from airflow.sdk import DAG

    module = importlib.import_module(f"dags_examples.{name}")
    dag = getattr(module, f"segmind_{name}")()  # a new DAG object, because a run changes it
    assert isinstance(dag, DAG)
    return dag


@pytest.fixture
def run_example(airflow_db: Path, segmind_emulator: Any, quick_polls: None) -> Callable[..., Run]:
    """Return a function that runs an example with these parameters; the others keep their defaults."""
    from tests.airflow_env import run_dag

    def run(name: str, **params: Any) -> Run:
        return run_dag(example(name), run_conf=params)

    return run


@pytest.fixture
def image_folder(tmp_path: Path, photos: Path) -> Path:
    """Return a folder with two images and a file that is not an image."""
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(photos / "cat.jpg", folder / "a cat.JPG")  # a space, and an extension in capitals
    shutil.copy(photos / "portrait-alpha.png", folder)
    (folder / "notes.txt").write_text("not an image")
    return folder
