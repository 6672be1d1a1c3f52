"""Where a task's output goes: what is checked before anything is submitted, and what is written after it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind import telemetry
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError, SegmindOutputError
from airflow_provider_segmind.execution.instance import Instance
from airflow_provider_segmind.execution.options import StorageOptions
from airflow_provider_segmind.execution.ports import Stored
from airflow_provider_segmind.lineage import urls_in
from airflow_provider_segmind.protocol.formats import requested_extension, with_format
from airflow_provider_segmind.protocol.redaction import redacted
from airflow_provider_segmind.storage.expected import Expected
from airflow_provider_segmind.storage.names import KEY_DIGITS, keyed, placeholders, stem_of
from airflow_provider_segmind.storage.outputs import store_result
from airflow_provider_segmind.storage.paths import object_path, probe, refused_early, storage_errors, uncached_fs
from airflow_provider_segmind.storage.sidecar import About, find_done, sidecar_of
from airflow_provider_segmind.storage.target import KEEPS_INPUT, Target

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.wire import Result


@dataclass(frozen=True)
class Destination:
    """
    The target of one task instance in storage: the engine's storage port for a single request.

    :param hook: fetches the outputs.
    :param instance: the task instance.
    :param options: the destination, rendered, with its placeholders still in it; and how it is stored.
    :param model: the slug.
    :param source: the input's URI, URL or base64; None if the task has no input.
    :param claim: makes sure that no other mapped instance has the same target.
    :param serves_previews: write previews, too.
    :param stem: what ``{stem}`` becomes; default: by ``source``.
    :param read_input: returns the input's bytes again; None if this task does not have them.
    :param request_info: what was known of the request when it was submitted, see ``Prepared.request_info``.
    :param input_size: upright width and height of the input in pixels, where known.
    :param named: the outputs are those of a workflow, which names them.
    """

    hook: SegmindHook
    instance: Instance
    options: StorageOptions
    model: str
    source: str | None
    claim: Callable[[ObjectStoragePath], None] = lambda path: None
    serves_previews: bool = False
    stem: str | None = None
    read_input: Callable[[], bytes | None] | None = None
    request_info: Mapping[str, Any] = field(default_factory=dict)
    input_size: tuple[int, int] | None = None
    named: bool = False

    @property
    def destination(self) -> str:
        """The destination's URI, with its placeholders."""
        return str(self.options.destination)

    @cached_property
    def values(self) -> dict[str, str]:
        """The values of the destination's placeholders, as far as they are known before the output is."""
        stem = self.stem or stem_of(self.source, otherwise=self.instance.task_id)
        return {"model": self.model, "map_index": str(self.instance.map_index), "stem": stem}

    @cached_property
    def _target(self) -> Target:
        return Target(
            self.destination,
            self.options.destination_conn_id,
            self.model,
            self.values,
            keeps_sidecar=self.options.keeps_sidecar,
            writes_previews=self.serves_previews,
            named=self.named,
        )

    def _name(self, key: str) -> str:
        """
        Return the name of the object in a folder.

        If existing objects are skipped, it is named by its input and not by its map index: one more image in a listing
        shifts all indexes, and no existing object would be found.
        """
        if self.options.on_existing == "skip":
            return keyed(self.values["stem"], key[:KEY_DIGITS])
        return self.instance.file_name

    def check(self) -> None:
        """
        Check the destination on every try, before anything else is done.

        :raises SegmindConfigError: a placeholder or the URI is wrong, or another mapped task has the same target.
        """
        self.options.validate_placeholders()
        path = self._target.path(ext="bin")
        unique_by = placeholders(self.destination) & {"request_id", "map_index"}
        if self.instance.map_index >= 0 and not unique_by and not self._target.is_folder:
            self.claim(path)

    def check_names(self) -> None:
        """
        Check the names that will be written, before a submit.

        :raises SegmindConfigError: a name is too long for the store.
        """
        self._target.check_names(self._name("0" * KEY_DIGITS))

    def check_extension(self) -> None:
        """
        Check the extension for an output that exists already: its format cannot be selected any more.

        :raises SegmindConfigError: the model cannot have written a format of this extension.
        """
        with_format(self.model, {}, self._target.uri(ext="_"))

    def check_not_input(self, source: ObjectStoragePath | None, fingerprint: str, body: Mapping[str, Any]) -> None:
        """
        Check that nothing that is written replaces the input: the next try would read the output as its input.

        :param source: the input, where it is read from storage; the URLs among the parameters are inputs, too.
        :param fingerprint: of the request.
        :param body: its parameters, which may state the output's format.
        :raises SegmindConfigError: an object is, or may become, the input itself.
        """
        inputs: Iterable[ObjectStoragePath | str] = urls_in(body) if source is None else [source, *urls_in(body)]
        name, requested = self._name(fingerprint), requested_extension(body)
        self._target.check_not_input(name, requested, inputs, next_step=KEEPS_INPUT)

    def existing(self, fingerprint: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """
        Check for an object that exists already, right before a submit.

        :param fingerprint: of the request that is about to be submitted.
        :param body: its parameters, which may state the output's format.
        :return: what the task returns, if ``skip`` finds the object; None if the task has to submit.
        :raises SegmindConfigError: an object exists, and ``if_exists`` is ``fail``; or a name is too long.
        """
        self.check_names()
        if self.options.on_existing == "overwrite":
            return None
        for path in self._target.objects(self._name(fingerprint), requested_extension(body)):
            if self.options.on_existing == "skip":
                value = find_done(path, fingerprint)
                if value is not None and (self.options.verify != "same" or _is_compared(value)):
                    same = "made from the same input with the same parameters"
                    why = f"{path} exists already, {same}. Nothing is submitted, nothing is billed"
                    telemetry.skipped(self.model, value, why)
                    return value
                continue
            for target in (path, sidecar_of(path)) if self.options.keeps_sidecar else (path,):
                with refused_early("destination", target):
                    if uncached_fs(target).exists(target.path):
                        raise SegmindConfigError(f"destination: {target} exists already, and if_exists='fail'")
        return None

    def probe(self) -> None:
        """Write a few bytes beside the target and delete them: a target that is not writable then costs no request."""
        path = self._target.path()
        probe(path / "object" if self._target.is_folder else path)

    # --- the engine's storage port ----------------------------------------------------------------------------

    def store(self, results: Sequence[tuple[str, Result]], stored: Stored) -> None:
        """Store the outputs of the task's one result."""
        for number, (key, result) in enumerate(results):
            try:
                outcome: list[dict[str, Any]] | SegmindError = self.store_one(key, result)
            except SegmindError as error:
                outcome = error
            stored(number, outcome)

    def store_one(self, key: str, result: Result) -> list[dict[str, Any]]:
        """Store the outputs of a result, with a sidecar if one is wanted."""
        about = None
        if self.options.keeps_sidecar:
            task = self.instance.named()
            about = About.model_validate({**self.request_info, "task": task})
        stored = store_result(
            self.hook,
            result,
            self.destination,
            conn_id=self.options.destination_conn_id,
            name=self._name(key),
            max_bytes=self.options.max_bytes,
            expected=self._expected(),
            names=self.values,
            if_exists="fail" if self.options.on_existing == "fail" else "overwrite",
            about=about,
            previews=self._previews(),
        )
        return [item.to_dict() for item in stored]

    def has(self, stored: Sequence[Mapping[str, Any]]) -> bool:
        """Return whether objects that were stored are still there, with their sizes."""
        for item in stored:
            path = object_path(str(item["uri"]), self.options.destination_conn_id)
            with storage_errors(path):
                fs = uncached_fs(path)
                if not fs.exists(path.path) or fs.size(path.path) != item.get("bytes"):
                    return False
        return True

    def _previews(self) -> Any:
        """Return what writes previews; of another input than was submitted there is none."""
        if not self.serves_previews:
            return None
        from airflow_provider_segmind.storage.preview_writer import PreviewWriter

        return PreviewWriter(self.instance.dag_id, lambda: self._input)

    def _expected(self) -> Expected:
        """Return what the outputs have to be."""
        return Expected.of(
            self.model,
            self.request_info.get("parameters") or {},
            verify=self.options.verify,
            keep_metadata=self.options.keep_metadata,
            input_size=self.input_size,
            input_name=str(redacted(self.source)),
            read_input=lambda: self._input,
        )

    @cached_property
    def _input(self) -> bytes | None:
        """The input as it was submitted. A resumed task reads it again, and it may have changed meanwhile."""
        content = self.read_input() if self.read_input else None
        sha256 = (self.request_info.get("input") or {}).get("sha256")
        if content is not None and sha256 and hashlib.sha256(content).hexdigest() != sha256:
            raise SegmindOutputError("the input has changed since it was submitted")
        return content


def _is_compared(value: Mapping[str, Any]) -> bool:
    """Return whether each object of a skipped result was compared with its input when it was stored."""
    return all("similarity" in item for item in value["stored"])
