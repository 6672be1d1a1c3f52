"""A folder with an image, an environment with a key, and the commands called in it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_segmind.emulator import Emulator
from tests.cli.terminal import Done, call, environment


@pytest.fixture
def here(tmp_path: Path, photos: Path) -> Path:
    """A folder with an image of 300 x 200 pixels."""
    shutil.copy(photos / "cat.jpg", tmp_path / "cat.jpg")
    return tmp_path


@pytest.fixture
def env(here: Path, segmind_emulator: Emulator) -> dict[str, str]:
    return environment(here, segmind_emulator)


@pytest.fixture
def checked(segmind_emulator: Emulator) -> Callable[[Done], Done]:
    """Check that the output of a command has no key, no colour and no traceback."""

    def check(done: Done) -> Done:
        for text in (done.out, done.err):
            assert segmind_emulator.api_key not in text
            assert "Traceback" not in text
            assert "\x1b" not in text
        return done

    return check


@pytest.fixture
def run(here: Path, env: dict[str, str], checked: Callable[[Done], Done], quick_polls: None) -> Callable[..., Done]:
    """Return a function that calls a command in this process."""

    def command(*typed: str, **changes: Any) -> Done:
        return checked(call(*typed, **{"cwd": here, "env": env, **changes}))

    return command
