"""The folder of a batch in the simulated world: its small files. Airflow knows which owners are working."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindStorageError
from airflow_provider_segmind.execution.instance import Instance
from airflow_provider_segmind.execution.manifest import BatchFolder

if TYPE_CHECKING:
    from tests.simulation.airflow import Task
    from tests.simulation.process import Process


@dataclass
class Folder:
    """
    What lies in it.

    :param tasks: all task instances, by the names of their runs.
    :param files: manifests and claims.
    :param objects: the outputs, each with the request that made it.
    :param states_known: False if Airflow does not report the state of a claim's owner.
    """

    tasks: dict[str, Task] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    objects: dict[str, str] = field(default_factory=dict)
    states_known: bool = True

    def opened(self, process: Process) -> BatchFolder:
        """Return it as one process sees it."""
        task = process.task
        instance = Instance("d", task.name, task.group, -1, process.number)
        return BatchFolder(OpenFiles(self, process), instance, self._is_working)

    def _is_working(self, owner: Mapping[str, Any]) -> bool | None:
        if not self.states_known:
            return None
        return self.tasks[owner["run_id"]].state in ("running", "deferred", "restarting", "up_for_retry")

    def claimed_by(self, process: Process) -> list[str]:
        """I6: a claim ends with its owner."""
        claims = (json.loads(text) for name, text in self.files.items() if name.endswith(".claim"))
        mine = [claim for claim in claims if claim["owner"]["run_id"] == process.task.name]
        return [f"I6: {process.name} leaves its claim" for claim in mine if claim["until"] > process.now()]


class OpenFiles:
    """The files for one process."""

    def __init__(self, folder: Folder, process: Process) -> None:
        self._folder, self._process = folder, process

    def uri(self, name: str) -> str:
        """Its URI."""
        return f"mem://{name}"

    def sizes(self) -> dict[str, int]:
        """What lies there."""
        self._process.port("list the folder")
        return dict.fromkeys([*self._folder.files, *self._folder.objects], 1)

    def read(self, name: str) -> bytes | None:
        """Read one."""
        text = self._folder.files.get(name)
        if text is None:
            return None  # nothing can go wrong that does not go wrong at the next port, too
        self._process.port("read a file")
        return text.encode()

    def write(self, name: str, text: str) -> None:
        """Write one."""
        self._process.port("write a file")
        task = self._process.task
        if task.is_read_only or self._process.world.chance("a file cannot be written", task.rates.store):
            self._process.met_bad_storage = True
            raise SegmindStorageError("full")
        self._folder.files[name] = text
        self._process.port("the file is written")

    def remove(self, name: str) -> None:
        """Remove one."""
        self._process.port("remove a file")
        if self._process.task.is_read_only:
            self._process.met_bad_storage = True
            raise SegmindStorageError("read-only")
        self._folder.files.pop(name, None)

    def probe(self, name: str) -> None:
        """Find out whether one can be written."""
        if self._process.task.is_read_only:
            raise SegmindConfigError("the folder is read-only")
