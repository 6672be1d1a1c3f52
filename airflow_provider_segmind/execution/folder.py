"""The folder of a batch in a storage: its files are read and written here. Their content: ``manifest.py``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError, SegmindStorageError
from airflow_provider_segmind.execution.input_source import content_of_image
from airflow_provider_segmind.execution.options import StorageOptions
from airflow_provider_segmind.execution.ports import Stored
from airflow_provider_segmind.execution.want import Want
from airflow_provider_segmind.lineage import urls_in
from airflow_provider_segmind.protocol.lifetimes import AT_ONCE
from airflow_provider_segmind.protocol.redaction import redacted
from airflow_provider_segmind.protocol.wire import Result
from airflow_provider_segmind.storage import object_path, publish_text, read_bytes, remove, sizes_in, store_result
from airflow_provider_segmind.storage.expected import Expected
from airflow_provider_segmind.storage.names import fill
from airflow_provider_segmind.storage.paths import probe, size_of
from airflow_provider_segmind.storage.same_object import name_in_bucket
from airflow_provider_segmind.storage.target import KEEPS_INPUT, Target, check_name
from airflow_provider_segmind.storage.verification import data_uri_size

if TYPE_CHECKING:
    from airflow_provider_segmind.hooks.segmind import SegmindHook

#: The suffix of a further output of one request.
_NUMBER = re.compile(r"_\d+$")


class StorageFolder:
    """
    The files of a batch's folder, see :class:`.claim.Files`.

    :param destination: URI of the folder.
    :param conn_id: Airflow connection of the storage.
    :param model: the slug, for a ``{model}`` in the destination.
    """

    def __init__(self, destination: str, *, conn_id: str | None, model: str) -> None:
        self.destination, self.conn_id = fill(destination, {"model": model}).rstrip("/") + "/", conn_id
        self._model = model
        self._folder = object_path(self.destination, conn_id)

    def check(self, wants: Sequence[Want], manifest: str) -> None:
        """
        Check the names that will be written, before anything is submitted.

        :param wants: of the batch.
        :param manifest: URI of the manifest.
        :raises SegmindConfigError: a name is too long for the store, or an output would replace an input.
        """
        check_name(self._folder / manifest.rpartition("/")[2])
        if names := {want.name for want in wants}:
            Target(self.destination, self.conn_id, self._model, {}).check_names(max(names, key=size_of))
        for want in wants:
            for url in urls_in(want.body):
                folder, _, name = (name_in_bucket(url, self._folder) or "").rpartition("/")
                stem = name.rpartition(".")[0]
                if folder == self._folder.path.rstrip("/") and not names.isdisjoint((stem, _NUMBER.sub("", stem))):
                    raise SegmindConfigError(
                        f"destination: item {want.record.index} is {url}, which the output of an item may replace",
                        next_step=KEEPS_INPUT,
                    )

    def uri(self, name: str) -> str:
        """Return a file's URI."""
        return str(self._folder / name)

    def sizes(self) -> dict[str, int]:
        """Return the names of all files, with their sizes in bytes."""
        return sizes_in(self._folder)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None if it is missing."""
        return read_bytes(self._folder / name)

    def write(self, name: str, text: str) -> None:
        """Write a file; readers see the old one or the new one."""
        publish_text(text, self._folder / name)

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        remove(self._folder / name)

    def probe(self, name: str) -> None:
        """Write a few bytes beside a file and delete them."""
        probe(self._folder / name)


@dataclass(frozen=True)
class FolderStorage:
    """
    The engine's storage port for the wants of a batch.

    :param folder: where the outputs go.
    :param hook: fetches the outputs.
    :param wants: the wants by their keys.
    :param options: how the outputs are stored.
    """

    folder: StorageFolder
    hook: SegmindHook
    wants: Mapping[str, Want]
    options: StorageOptions

    @property
    def destination(self) -> str:
        """URI of the folder."""
        return self.folder.destination

    def store(self, results: Sequence[tuple[str, Result]], stored: Stored) -> None:
        """Store the outputs in parallel."""
        self.hook.get_conn()  # created once here, because the threads share it
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="segmind-store") as pool:
            for number, outcome in enumerate(pool.map(self._outcome, results)):
                stored(number, outcome)

    def _outcome(self, one: tuple[str, Result]) -> list[dict[str, Any]] | SegmindError:
        key, result = one
        try:
            return self._store(self.wants[key], result)
        except SegmindError as error:
            return error
        except OSError as error:  # the temporary files of this machine
            return SegmindStorageError(f"{type(error).__name__}: {error}")

    def _store(self, want: Want, result: Result) -> list[dict[str, Any]]:
        stored = store_result(
            self.hook,
            result,
            self.folder.destination,
            conn_id=self.folder.conn_id,
            name=want.name,
            max_bytes=self.options.max_bytes,
            expected=self._expected(result.model, want.body),
        )
        return [item.to_dict() for item in stored]

    def _expected(self, model: str, body: Mapping[str, Any]) -> Expected:
        image = body.get("image")
        return Expected.of(
            model,
            body,
            verify=self.options.verify,
            keep_metadata=self.options.keep_metadata,
            input_size=data_uri_size(model, image, whole=False),
            input_name=str(redacted(image)),
            read_input=lambda: content_of_image(self.hook, image, self.options),
        )

    def has(self, stored: Sequence[Mapping[str, Any]]) -> bool:
        """Return True: :meth:`.BatchFolder.mark_missing` compares all objects with one listing."""
        return True
