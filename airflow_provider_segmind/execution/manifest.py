"""
The manifest of a batch: a JSON Lines file in its folder with one request record for each want.

Rows are identified by their content, and every manifest in the folder is read: a task that was renamed, or a chunk that
moved to another map index, finds what is stored. The claim beside it: ``claim.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.execution.claim import Claims, Files
from airflow_provider_segmind.execution.instance import Instance
from airflow_provider_segmind.execution.record import RequestRecord, State, newest
from airflow_provider_segmind.execution.want import Want

log = logging.getLogger(__name__)

_SUFFIX = ".manifest.jsonl"


def write_manifest(rows: Iterable[RequestRecord]) -> str:
    """Return the rows as JSON Lines."""
    return "".join(row.model_dump_json(exclude_none=True) + "\n" for row in rows)


def rows_of(text: str) -> tuple[dict[str, RequestRecord], list[str]]:
    """Return the rows of a manifest by their keys, and the errors of the lines that cannot be read."""
    rows: dict[str, RequestRecord] = {}
    faults = []
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines(): a text may contain a line separator
        if not line.strip():
            continue
        try:
            row = RequestRecord.model_validate_json(line)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            faults.append(f"line {number}: {'.'.join(map(str, fault['loc']))} {fault['msg']}")
        else:
            rows[row.key] = newest((rows.get(row.key), row)) or row
    return rows, faults


def read_manifest(text: str, *, where: str) -> dict[str, RequestRecord]:
    """
    Return the rows by their keys; unknown fields of a row are ignored.

    :param text: the manifest.
    :param where: its URI, for errors.
    :raises SegmindConfigError: a line cannot be read: without it a paid request would be submitted again.
    """
    rows, faults = rows_of(text)
    if faults:
        raise _unreadable(where, faults[0])
    return rows


def newest_of_one(row: RequestRecord, before: RequestRecord | None) -> RequestRecord:
    """Return the newer of two rows with one key: a later try of the same owner may have written ``before``."""
    return row if before is None or before.owner != row.owner else newest((row, before)) or row


def _unreadable(where: str, what: str) -> SegmindConfigError:
    return SegmindConfigError(
        f"manifest {where}, {what}",
        next_step="Restore it. Or remove it: then requests that only the manifest has are submitted and billed again.",
    )


class BatchFolder:
    """
    The manifests and claims in the folder of a batch.

    :param files: the files in the folder.
    :param instance: the task instance: it names the manifest.
    :param is_working: returns whether another task instance may still be working; None if Airflow does not report it.
    """

    def __init__(
        self,
        files: Files,
        instance: Instance,
        is_working: Callable[[Mapping[str, Any]], bool | None] = lambda owner: None,
    ) -> None:
        self._files, self._manifest = files, f"{instance.file_name}{_SUFFIX}"
        self.claims = Claims(files, instance, is_working)
        #: True if a line of another task's manifest could not be read: its request may be paid for.
        self.damaged = False

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
        text = (self._files.read(name) or b"").decode(errors="replace")
        rows, faults = rows_of(text)
        if not text.strip() or "\ufffd" in text:
            faults.append("it is empty, or not UTF-8")
        for fault in faults:
            log.warning("Ignoring a part of manifest %s: %s", self._files.uri(name), fault)
            self.damaged = True
        return rows

    def _rows(self, name: str) -> dict[str, RequestRecord]:
        content, where = self._files.read(name), self._files.uri(name)
        if content is None:
            return {}
        if not content.strip():  # we do not write an empty one: it was truncated
            raise _unreadable(where, "it is empty")
        try:
            return read_manifest(content.decode(), where=where)
        except UnicodeDecodeError as error:
            raise _unreadable(where, f"it is not UTF-8: {error}") from error

    @property
    def has_manifest(self) -> bool:
        """True if the manifest of this task exists."""
        return self._files.read(self._manifest) is not None

    def probe(self) -> None:
        """Raise SegmindConfigError if the folder cannot be written, before anything is submitted."""
        self._files.probe(self._manifest)

    def write(self, rows: Sequence[RequestRecord]) -> None:
        """
        Write the manifest; rows of other items (of an earlier run) stay at its end.

        :raises SegmindConfigError: this run has lost its claim.
        """
        self.claims.check()
        before = self._rows(self._manifest)
        mine = {row.key: newest_of_one(row, before.pop(row.key, None)) for row in rows}
        if text := write_manifest([*mine.values(), *before.values()]):
            self._files.write(self._manifest, text)

    # --- outputs ----------------------------------------------------------------------------------------------

    def mark_missing(self, wants: Sequence[Want], names: Mapping[str, int]) -> None:
        """Mark stored outputs that are missing from the folder, or have another size: they are fetched again."""
        for want in wants:
            row = want.record
            stored = {str(found["uri"]).rpartition("/")[2]: found.get("bytes") for found in row.stored or ()}
            missing = sorted(name for name, size in stored.items() if names.get(name) != size)
            if row.state is State.DELIVERED and missing:
                log.warning(
                    "Item %d: %s is missing from the folder, or has another size: fetching it again", row.index, missing
                )
                row.undelivered()
