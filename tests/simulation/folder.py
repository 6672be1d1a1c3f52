"""The folder of a batch in the simulated world: manifests as text, and claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindStorageError
from airflow_provider_segmind.execution.manifest import read_manifest, write_manifest
from airflow_provider_segmind.execution.record import RequestRecord, State
from airflow_provider_segmind.execution.want import Want

if TYPE_CHECKING:
    from tests.simulation.airflow import Process, Task


@dataclass
class Folder:
    """What lies in it: manifests and claims, by the names of their tasks; who works is Airflow's to say."""

    tasks: dict[str, Task] = field(default_factory=dict)
    manifests: dict[str, str] = field(default_factory=dict)
    claims: dict[str, tuple[str, float]] = field(default_factory=dict)
    #: False where Airflow does not tell the state of a claim's owner.
    states_known: bool = True

    def opened(self, process: Process) -> OpenFolder:
        """Return it as one process sees it."""
        return OpenFolder(self, process)


class OpenFolder:
    """The folder port of a batch run."""

    def __init__(self, folder: Folder, process: Process) -> None:
        self._folder, self._process = folder, process
        self._name = process.task.name

    @property
    def manifest(self) -> str:
        """Its URI."""
        return f"mem://{self._name}"

    @property
    def has_manifest(self) -> bool:
        """Whether it is there."""
        return self._name in self._folder.manifests

    def names(self) -> dict[str, int]:
        """What lies there."""
        self._process.port("list the folder")
        return dict.fromkeys([*self._folder.manifests, *self._process.task.objects], 1)

    def read(self, names: Iterable[str]) -> list[dict[str, RequestRecord]]:
        """Read all manifests, the own one first."""
        self._process.port("read the manifests")
        found = [self._name, *sorted(set(names) & set(self._folder.manifests) - {self._name})]
        return [read_manifest(self._folder.manifests.get(name, ""), where=name) for name in found]

    def write(self, rows: Sequence[RequestRecord]) -> None:
        """Write the task's own."""
        self._process.port("write the manifest")
        world, rates = self._process.world, self._process.task.rates
        if world.chance("the manifest cannot be written", rates.store):
            raise SegmindStorageError("full")
        mine = {row.key for row in rows}
        before = read_manifest(self._folder.manifests.get(self._name, ""), where=self._name)
        text = write_manifest([*rows, *(row for key, row in before.items() if key not in mine)])
        self._folder.manifests[self._name] = text
        self._process.port("the manifest is written")

    def probe(self) -> None:
        """Nothing to find out."""

    def claim(self, *, until: float, now: float) -> None:
        """Claim the manifest; an owner that does not work any more does not count."""
        self._process.port("claim")
        owner, end = self._folder.claims.get("claim", (self._name, 0.0))
        other = self._folder.tasks.get(owner)
        working = other is None or other.state in ("running", "deferred")
        if owner != self._name and end > now and (working or not self._folder.states_known):
            raise SegmindConfigError(f"another run works on it: {owner}", retryable=True)
        self._folder.claims["claim"] = (self._name, until)

    def release(self) -> None:
        """Release it."""
        self._folder.claims.pop("claim", None)

    def miss(self, wants: Sequence[Want], names: Mapping[str, int]) -> None:
        """Note what is not there any more."""
        for want in wants:
            row = want.record
            gone = not {str(found["uri"]) for found in row.stored or ()} <= self._all()
            if row.state is State.DELIVERED and gone:
                row.undelivered()

    def _all(self) -> set[str]:
        return {name for task in self._folder.tasks.values() for name in task.objects}
