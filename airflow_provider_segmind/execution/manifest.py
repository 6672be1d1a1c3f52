"""
The folder of a batch: its manifest (JSON Lines), which states what became of each want, and its claim.

Rows are identified by their content, and every manifest in the folder is read: a task that was renamed, or a chunk that
moved to another map index, finds what is there. A claim keeps two runs from working on one manifest. One that was not
released shows that its run was killed: it may have submitted what no manifest states, so the history is asked.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from pydantic import ValidationError

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.execution.instance import Instance
from airflow_provider_segmind.execution.record import RequestRecord, State, newest
from airflow_provider_segmind.execution.want import Want

log = logging.getLogger(__name__)

_SUFFIX, _CLAIM = ".manifest.jsonl", ".claim"
#: What identifies the owner of a claim.
_OWNER = ("dag_id", "run_id", "task_id", "map_index")


@dataclass(frozen=True)
class Claim:
    """
    One run at a time works on a manifest.

    :param owner: the task instance, as the fields of :class:`.Instance` that identify it.
    :param until: when it ends by itself (epoch seconds), should nobody be able to say whether its owner still works.
    :param began: when a run began that has not released it (epoch seconds): from then on a submit may be unknown.
    """

    owner: dict[str, Any]
    until: float
    began: float = 0.0

    @classmethod
    def read(cls, text: str | bytes | None) -> Claim | None:
        """Return the claim; None where there is none, or what this version cannot read."""
        try:
            found = json.loads(text or "")
            owner = {name: found["owner"][name] for name in _OWNER}
            return cls(owner, float(found["until"]), float(found.get("began", 0.0)))
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


def newest_of_one(row: RequestRecord, before: RequestRecord | None) -> RequestRecord:
    """Return which of two rows of one content is right: a later try's process of the same owner may have written."""
    return row if before is None or before.owner != row.owner else newest((row, before)) or row


def _unreadable(where: str, what: str) -> SegmindConfigError:
    return SegmindConfigError(
        f"manifest {where}, {what}",
        next_step="Restore it, or remove it: then what only the manifest knows is submitted, and billed, again.",
    )


class Files(Protocol):
    """The small files of a folder, each read and written whole."""

    def uri(self, name: str) -> str:
        """Return a file's URI."""

    def sizes(self) -> Mapping[str, int]:
        """Return the names of all files, with their sizes in bytes."""

    def read(self, name: str) -> bytes | None:
        """Return a file; None where there is none."""

    def write(self, name: str, text: str) -> None:
        """Write a file."""

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""

    def probe(self, name: str) -> None:
        """Make sure that a file can be written."""


class BatchFolder:
    """
    The manifests and claims in the folder of a batch.

    :param files: what is in the folder.
    :param instance: the task instance: it names the manifest.
    :param is_working: returns whether another task instance may still work; None where nobody knows.
    """

    def __init__(
        self,
        files: Files,
        instance: Instance,
        is_working: Callable[[Mapping[str, Any]], bool | None] = lambda owner: None,
    ) -> None:
        self._files, self._instance, self._is_working = files, instance, is_working
        self._manifest, self._claim = f"{instance.file_name}{_SUFFIX}", f"{instance.file_name}{_CLAIM}"

    @property
    def manifest(self) -> str:
        """URI of the manifest."""
        return self._files.uri(self._manifest)

    def names(self) -> Mapping[str, int]:
        """Return the names of the objects in the folder, with their sizes in bytes."""
        return self._files.sizes()

    def read(self, names: Iterable[str]) -> list[dict[str, RequestRecord]]:
        """Return the rows of all manifests among these names by their keys, those of this task's own first."""
        others = sorted(name for name in names if name.endswith(_SUFFIX) and name != self._manifest)
        return [self._rows(self._manifest), *map(self._rows_of_another, others)]

    def _rows_of_another(self, name: str) -> dict[str, RequestRecord]:
        try:
            return self._rows(name)
        except SegmindConfigError as error:  # it says nothing of this task's own wants
            log.warning("%s", error.detail)
            return {}

    def _rows(self, name: str) -> dict[str, RequestRecord]:
        content, where = self._files.read(name), self._files.uri(name)
        if content is None:
            return {}
        if not content.strip():  # none of ours: it was cut
            raise _unreadable(where, "it is empty")
        try:
            return read_manifest(content.decode(), where=where)
        except UnicodeDecodeError as error:
            raise _unreadable(where, f"it is not UTF-8: {error}") from error

    @property
    def has_manifest(self) -> bool:
        """True where this task's own manifest is there."""
        return self._files.read(self._manifest) is not None

    def probe(self) -> None:
        """Write a few bytes and delete them: a folder that cannot be written costs no request."""
        self._files.probe(self._manifest)

    def write(self, rows: Sequence[RequestRecord]) -> None:
        """
        Write the manifest; rows of other items (an earlier run's) stay below.

        :raises SegmindConfigError: another run has claimed it meanwhile: Airflow took this process for dead.
        """
        there = self._claimed(self._claim)
        if there is not None and there.owner != self._owner:
            raise self._taken(there)
        before = self._rows(self._manifest)
        mine = {row.key: newest_of_one(row, before.pop(row.key, None)) for row in rows}
        if text := write_manifest([*mine.values(), *before.values()]):
            self._files.write(self._manifest, text)

    @property
    def _owner(self) -> dict[str, Any]:
        return {name: asdict(self._instance)[name] for name in _OWNER}

    # --- the claim --------------------------------------------------------------------------------------------

    def claim(self, *, until: float, now: float) -> bool:
        """
        Keep other runs away from this manifest: both would pay for what is missing.

        Not airtight: of two that begin in the same moment the later one finds out at its next wave.

        :param until: when the claim ends by itself (epoch seconds).
        :param now: the time (epoch seconds).
        :return: True where there was no claim.
        :raises SegmindConfigError: another run works on it.
        """
        before = self._claimed(self._claim)
        began = now if before is None else min(before.began, now)
        mine = Claim(self._owner, until, began)
        if before is not None and before.owner != mine.owner and self._is_alive(before, now):
            raise self._taken(before)
        self._files.write(self._claim, json.dumps(asdict(mine)))
        there = self._claimed(self._claim)
        if there is None or there.owner != mine.owner:
            raise self._taken(there or mine)
        return before is None

    def killed_since(self, names: Iterable[str], now: float) -> float | None:
        """
        Return since when a run worked here that was killed: it has not released its claim (epoch seconds).

        It may have submitted what no manifest states. None where there is no such run.

        :param names: of the objects in the folder.
        :param now: when this run's own claim began (epoch seconds).
        """
        claims = [self._claimed(name) for name in sorted(names) if name.endswith(_CLAIM) and name != self._claim]
        others = (one for one in claims if one is not None and not self._is_sibling(one))
        killed = [one.began for one in others if self._is_working(one.owner) is not True]  # to ask costs nothing
        mine = self._claimed(self._claim)
        if mine is not None and mine.began < now:
            killed.append(mine.began)
        return min(killed, default=None)

    def _is_sibling(self, claim: Claim) -> bool:
        """Return whether it is of the same run of the DAG: a mapped batch has many, and each asks after its own."""
        return (claim.owner["dag_id"], claim.owner["run_id"]) == (self._instance.dag_id, self._instance.run_id)

    def _claimed(self, name: str) -> Claim | None:
        return Claim.read(self._files.read(name))

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

    def release(self, *, ended_at: float | None = None) -> None:
        """
        End the claim, unless another run has it by now.

        :param ended_at: leave it as that of a run that was killed: it has ended then (epoch seconds), and the next run
            asks the history.
        """
        there = self._claimed(self._claim)
        if there is None or there.owner != self._owner:
            return
        if ended_at is None:
            self._files.remove(self._claim)
        else:
            self._files.write(self._claim, json.dumps(asdict(replace(there, until=ended_at))))

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
