"""
The folder of a batch: its outputs, and beside them the manifest (JSON Lines) that states what became of each want.

Rows are identified by their content, and every manifest in the folder is read: a task that was renamed, or a chunk that
moved to another map index, finds what is there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError, SegmindStorageError
from airflow_provider_segmind.execution.instance import Instance
from airflow_provider_segmind.execution.ports import Stored
from airflow_provider_segmind.execution.record import RequestRecord, State, newest
from airflow_provider_segmind.execution.want import Want
from airflow_provider_segmind.protocol.lifetimes import AT_ONCE
from airflow_provider_segmind.protocol.wire import Result
from airflow_provider_segmind.storage import object_path, publish_text, read_bytes, remove, sizes_in, store_result
from airflow_provider_segmind.storage.names import fill
from airflow_provider_segmind.storage.paths import probe
from airflow_provider_segmind.storage.proof import data_uri_size

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_segmind.hooks.segmind import SegmindHook

log = logging.getLogger(__name__)

_SUFFIX = ".manifest.jsonl"
#: What identifies the owner of a claim.
_OWNER = ("dag_id", "run_id", "task_id", "map_index")


@dataclass(frozen=True)
class Claim:
    """
    One run at a time works on a manifest.

    :param owner: the task instance, as the fields of :class:`.Instance` that identify it.
    :param until: when it ends by itself (epoch seconds), should nobody be able to say whether its owner still works.
    """

    owner: dict[str, Any]
    until: float

    @classmethod
    def read(cls, text: str | bytes | None) -> Claim | None:
        """Return the claim; None where there is none, or what this version cannot read."""
        try:
            found = json.loads(text or "")
            return cls({name: found["owner"][name] for name in _OWNER}, float(found["until"]))
        except (ValueError, TypeError, KeyError):
            return None

    def __str__(self) -> str:
        return " ".join(str(value) for value in self.owner.values())


def write_manifest(rows: Iterable[RequestRecord]) -> str:
    """Return the rows as JSON Lines."""
    return "".join(row.model_dump_json(exclude_none=True) + "\n" for row in rows)


def read_manifest(text: str, *, where: str) -> dict[str, RequestRecord]:
    """
    Return the rows by their keys; fields of a row that this version does not know are ignored.

    :raises SegmindConfigError: a line cannot be read: what is paid for would be forgotten.
    """
    rows: dict[str, RequestRecord] = {}
    for number, line in enumerate(text.split("\n"), 1):  # no splitlines(): a text may hold a line separator
        if not line.strip():
            continue
        try:
            row = RequestRecord.model_validate_json(line)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            what = f"line {number}: {'.'.join(map(str, fault['loc']))} {fault['msg']}"
            raise _unreadable(where, what) from None
        rows[row.key] = newest((rows.get(row.key), row)) or row
    return rows


def _unreadable(where: str, what: str) -> SegmindConfigError:
    return SegmindConfigError(
        f"manifest {where}, {what}",
        next_step="Restore it, or remove it: then what only the manifest knows is submitted, and billed, again.",
    )


class BatchFolder:
    """
    Where a batch's outputs and its manifest lie.

    :param destination: URI of the folder.
    :param conn_id: Airflow connection of the storage.
    :param instance: the task instance: it names the manifest.
    :param model: the slug, for a ``{model}`` in the destination.
    :param max_bytes: refuse a larger output (bytes).
    :param is_working: returns whether another task instance may still work; None where nobody knows.
    """

    def __init__(
        self,
        destination: str,
        *,
        conn_id: str | None,
        instance: Instance,
        model: str,
        max_bytes: int,
        is_working: Callable[[Mapping[str, Any]], bool | None] = lambda owner: None,
    ) -> None:
        self._uri = fill(destination, {"model": model}).rstrip("/") + "/"
        self._conn_id, self._max_bytes, self._instance = conn_id, max_bytes, instance
        self._is_working = is_working
        self._folder = object_path(self._uri, conn_id)
        self._manifest = self._folder / f"{instance.file_name}{_SUFFIX}"
        self._claim = self._folder / f"{instance.file_name}.claim"

    @property
    def manifest(self) -> str:
        """URI of the manifest."""
        return str(self._manifest)

    def read(self, names: Iterable[str]) -> list[dict[str, RequestRecord]]:
        """Return the rows of all manifests among these names by their keys, those of this task's own first."""
        others = sorted(name for name in names if name.endswith(_SUFFIX) and name != self._manifest.name)
        return [self._own(), *(self._of_another(self._folder / name) for name in others)]

    def _own(self) -> dict[str, RequestRecord]:
        return self._rows(self._manifest)

    @staticmethod
    def _of_another(path: ObjectStoragePath) -> dict[str, RequestRecord]:
        try:
            return BatchFolder._rows(path)
        except SegmindConfigError as error:  # it says nothing of this task's own wants
            log.warning("%s", error.detail)
            return {}

    @staticmethod
    def _rows(path: ObjectStoragePath) -> dict[str, RequestRecord]:
        content = read_bytes(path)
        if content is None:
            return {}
        if not content.strip():  # none of ours: it was cut
            raise _unreadable(str(path), "it is empty")
        try:
            return read_manifest(content.decode(), where=str(path))
        except UnicodeDecodeError as error:
            raise _unreadable(str(path), f"it is not UTF-8: {error}") from error

    def names(self) -> dict[str, int]:
        """Return the names of the objects in the folder, with their sizes in bytes."""
        return sizes_in(self._folder)

    @property
    def has_manifest(self) -> bool:
        """True where this task's own manifest is there."""
        return read_bytes(self._manifest) is not None

    def probe(self) -> None:
        """Write a few bytes and delete them: a place that cannot be written costs no request."""
        probe(self._manifest)

    def write(self, rows: Sequence[RequestRecord]) -> None:
        """Write the manifest; rows of other items (an earlier run's) stay below."""
        mine = {row.key for row in rows}
        before = self._own()
        if text := write_manifest([*rows, *(row for key, row in before.items() if key not in mine)]):
            publish_text(text, self._manifest)

    # --- the claim --------------------------------------------------------------------------------------------

    def claim(self, *, until: float, now: float) -> None:
        """
        Keep other runs away from this manifest: both would pay for what is missing.

        Not airtight: of two that begin in the same moment the later one finds out at its next wave.

        :param until: when the claim ends by itself (epoch seconds).
        :param now: the time (epoch seconds).
        :raises SegmindConfigError: another run works on it.
        """
        mine = Claim({name: asdict(self._instance)[name] for name in _OWNER}, until)
        there = Claim.read(read_bytes(self._claim))
        if there is not None and there.owner != mine.owner and self._is_alive(there, now):
            raise self._taken(there)
        publish_text(json.dumps(asdict(mine)), self._claim)
        there = Claim.read(read_bytes(self._claim))
        if there is None or there.owner != mine.owner:
            raise self._taken(there or mine)

    def _is_alive(self, claim: Claim, now: float) -> bool:
        working = self._is_working(claim.owner)
        return claim.until > now if working is None else working

    def _taken(self, claim: Claim) -> SegmindConfigError:
        left = f"its claim ends when it does, or {claim.until:.0f} (epoch seconds) at the latest"
        return SegmindConfigError(
            f"another run works on {self.manifest}: {claim}; {left}",
            next_step="Nothing was sent by this one: another try, or a clear, works once that has ended.",
            retryable=True,
        )

    def release(self) -> None:
        """End the claim."""
        remove(self._claim)

    # --- outputs ----------------------------------------------------------------------------------------------

    def miss(self, wants: Sequence[Want], names: Mapping[str, int]) -> None:
        """Note which stored outputs are missing from the folder, or are of another size: they are fetched again."""
        for want in wants:
            row = want.record
            stored = {str(found["uri"]).rpartition("/")[2]: found.get("bytes") for found in row.stored or ()}
            missing = sorted(name for name, size in stored.items() if names.get(name) != size)
            if row.state is State.DELIVERED and missing:
                log.warning("Item %d: %s is missing from the folder, or changed", row.index, missing)
                row.undelivered()

    def bind(self, hook: SegmindHook, wants: Sequence[Want]) -> FolderStorage:
        """Return the engine's storage port for these wants."""
        hook.get_conn()  # made once, here: it is shared by the threads
        return FolderStorage(self, hook, {want.record.key: want for want in wants})

    def store(self, hook: SegmindHook, want: Want, result: Result) -> list[dict[str, Any]]:
        """Store the outputs of one want."""
        stored = store_result(
            hook,
            result,
            self._uri,
            conn_id=self._conn_id,
            name=want.name,
            max_bytes=self._max_bytes,
            at_least=data_uri_size(want.body.get("image")),
        )
        return [item.to_dict() for item in stored]


@dataclass(frozen=True)
class FolderStorage:
    """The engine's storage port for the wants of a batch."""

    folder: BatchFolder
    hook: SegmindHook
    wants: Mapping[str, Want]

    def store(self, results: Sequence[tuple[str, Result]], stored: Stored) -> None:
        """Store a few at once."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="segmind-store") as pool:
            for number, outcome in enumerate(pool.map(self._outcome, results)):
                stored(number, outcome)

    def _outcome(self, one: tuple[str, Result]) -> list[dict[str, Any]] | SegmindError:
        key, result = one
        try:
            return self.folder.store(self.hook, self.wants[key], result)
        except SegmindError as error:
            return error
        except OSError as error:  # this machine's own disk
            return SegmindStorageError(f"{type(error).__name__}: {error}")

    def has(self, stored: Sequence[Mapping[str, Any]]) -> bool:
        """Return True: :meth:`BatchFolder.miss` looks a thousand objects up in one listing."""
        return True
