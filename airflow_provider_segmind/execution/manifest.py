"""The folder of a batch: its outputs, and beside them the manifest that says what became of each picture."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from airflow_provider_segmind import telemetry
from airflow_provider_segmind.exceptions import SegmindError, SegmindRequestExpiredError, SegmindStorageError
from airflow_provider_segmind.ledger.history import recover_output
from airflow_provider_segmind.operators.submit_many import Picture
from airflow_provider_segmind.protocol.batch import Row, State, read_manifest, write_manifest
from airflow_provider_segmind.protocol.events import CompletedEvent, Event, FetchEvent, error_from_dict
from airflow_provider_segmind.protocol.wire import Result
from airflow_provider_segmind.storage import (
    StoredObject,
    names_in,
    object_path,
    publish_text,
    read_text,
    remove,
    store_result,
)
from airflow_provider_segmind.storage.names import fill
from airflow_provider_segmind.storage.paths import probe
from airflow_provider_segmind.storage.proof import data_uri_size

if TYPE_CHECKING:
    from airflow_provider_segmind.hooks.segmind import SegmindHook

log = logging.getLogger(__name__)

#: Outputs fetched and stored at once.
_AT_ONCE = 4


class BatchFolder:
    """
    Where a batch's outputs and its manifest lie.

    :param destination: URI of the folder.
    :param conn_id: Airflow connection of the storage.
    :param name: name of the manifest, without its extension.
    :param model: the slug, for a ``{model}`` in the destination.
    :param max_bytes: refuse a larger output (bytes).
    """

    def __init__(self, destination: str, *, conn_id: str | None, name: str, model: str, max_bytes: int) -> None:
        self._uri = fill(destination, {"model": model}).rstrip("/") + "/"
        self._conn_id = conn_id
        self._max_bytes = max_bytes
        self._folder = object_path(self._uri, conn_id)
        self._manifest = self._folder / f"{name}.manifest.jsonl"
        self._claim = self._folder / f"{name}.claim"

    @property
    def manifest(self) -> str:
        """URI of the manifest."""
        return str(self._manifest)

    def read(self) -> dict[str, Row] | None:
        """Return the manifest's rows by their keys; None where there is no manifest."""
        text = read_text(self._manifest)
        return None if text is None else read_manifest(text, where=self.manifest)

    def probe(self) -> None:
        """Write a few bytes and delete them: a place that cannot be written costs no request."""
        probe(self._manifest)

    def write(self, rows: Sequence[Row]) -> None:
        """Write the manifest; rows of other items (an earlier run's) stay below."""
        mine = {row.key for row in rows}
        others = [row for key, row in (self.read() or {}).items() if key not in mine]
        publish_text(write_manifest([*rows, *others]), self._manifest)

    def claim(self, owner: str, *, until: float) -> bool:
        """
        Keep other runs away from this manifest; False where another one has it.

        Not airtight: of two that begin in the same moment the later one finds out at its next look.

        :param owner: this task instance.
        :param until: when the claim ends by itself (epoch seconds), should the process die.
        """
        found = read_text(self._claim)
        name, _, end = (found or "").partition("\n")
        if found and name != owner and _number(end) > time.time():
            return False
        publish_text(f"{owner}\n{until:.0f}", self._claim)
        return (read_text(self._claim) or "").partition("\n")[0] == owner

    def release(self) -> None:
        """End the claim."""
        remove(self._claim)

    def miss(self, rows: Sequence[Row]) -> None:
        """Turn stored pictures that are not there any more into ones to be stored again."""
        there = names_in(self._folder)
        for row in rows:
            names = {str(found["uri"]).rpartition("/")[2] for found in row.stored or ()}
            if row.state is State.STORED and not names <= there:
                log.warning(
                    "Picture %d: %s is gone from the folder: it is fetched again", row.index, sorted(names - there)
                )
                row.state = State.RUNNING
                row.stored = row.finished_at = None

    def collect(
        self, hook: SegmindHook, model: str, pictures: Sequence[Picture], ended: Mapping[str, Event], *, owner: str
    ) -> None:
        """
        Store the output of every picture whose request has ended, or whose result is known, and note what became of it.

        :param hook: fetches the outputs.
        :param model: the slug.
        :param pictures: all pictures of the batch.
        :param ended: how requests have ended, by the pictures' keys.
        :param owner: this task instance, written down as what stored them.
        """
        hook.get_conn()  # made once, here: it is shared by the threads
        ready = [
            picture
            for picture in pictures
            if picture.row.state is State.RUNNING and (picture.row.result or picture.row.key in ended)
        ]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="segmind-store") as pool:
            outcomes = pool.map(lambda picture: self._outcome(hook, model, picture, ended.get(picture.row.key)), ready)
            for picture, outcome in zip(ready, outcomes, strict=True):
                self._note(model, picture.row, outcome, owner)

    def _outcome(
        self, hook: SegmindHook, model: str, picture: Picture, event: Event | None
    ) -> tuple[Result | None, list[StoredObject] | SegmindError]:
        result = None
        try:
            result = _result(hook, model, picture.row, event)
            stored = store_result(
                hook,
                result,
                self._uri,
                conn_id=self._conn_id,
                name=picture.name,
                max_bytes=self._max_bytes,
                at_least=data_uri_size(picture.body.get("image")),
            )
        except SegmindError as error:
            return result, error
        except OSError as error:  # this machine's own disk
            return result, SegmindStorageError(f"{type(error).__name__}: {error}")
        return result, stored

    @staticmethod
    def _note(
        model: str, row: Row, outcome: tuple[Result | None, list[StoredObject] | SegmindError], owner: str
    ) -> None:
        result, stored = outcome
        if result is not None:
            if row.result is None:  # else it was told when that was noted
                telemetry.completed(result, one_of_many=True, submitted_at=row.submitted_at)
            row.result = result.to_xcom()
        elif isinstance(stored, SegmindError) and row.result is None:
            telemetry.ended_badly(
                model, stored, request_id=row.request_id, one_of_many=True, submitted_at=row.submitted_at
            )
        if isinstance(stored, SegmindError):
            log.warning("Picture %d: %s", row.index, stored)
            row.failed(stored.to_dict(), at=time.time())
        else:
            row.state, row.finished_at, row.stored_by = State.STORED, time.time(), owner
            row.stored = [item.to_dict() for item in stored]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _result(hook: SegmindHook, model: str, row: Row, event: Event | None) -> Result:
    """Return what a request came to; raise the error that it ended with."""
    request_id = row.request_id or ""
    if row.result is not None:
        known = Result.model_validate(row.result)
        return known if known.fetchable else hook.get_result(request_id, model=model)
    if isinstance(event, CompletedEvent):
        return event.result
    if event is None or isinstance(event, FetchEvent):
        return hook.get_result(request_id, model=model)
    error = error_from_dict(event.error)
    if isinstance(error, SegmindRequestExpiredError) and (found := recover_output(hook, model, request_id)):
        return found
    raise error
