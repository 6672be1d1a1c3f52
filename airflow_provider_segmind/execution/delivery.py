"""Where a task's output goes: what is checked before anything is submitted, and what is written after it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind import telemetry
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindOutputError
from airflow_provider_segmind.operators.common import NEVER_FOUND, IfExists, claim_target, file_name, serves_previews
from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.protocol.pictures import EXTENSIONS
from airflow_provider_segmind.storage.names import fill, placeholders, stem_of
from airflow_provider_segmind.storage.outputs import StoredObject, store_result
from airflow_provider_segmind.storage.paths import fresh, object_path, probe, refused_early
from airflow_provider_segmind.storage.sidecar import About, find_done

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, ObjectStoragePath

    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.wire import Result

#: Stands for what is not known before the output is there.
_LATER = {"request_id": "request", "ext": "bin"}
#: Format of the output, as the models' pages name it -> ending.
_ENDINGS = {"jpeg": "jpg", "jpg": "jpg", "png": "png", "webp": "webp"}
#: What the three upscalers give.
_UPSCALED = {".jpg", ".png", ".webp"}


@dataclass(frozen=True)
class Delivery:
    """
    One task instance's way to its place in storage.

    :param context: the task's context.
    :param destination: rendered, with its placeholders still in it.
    :param conn_id: Airflow connection of the storage.
    :param model: the slug.
    :param source: the input's URI, URL or base64; None where there is none.
    :param max_bytes: refuse a larger output (bytes).
    :param if_exists: see the operator.
    :param sidecar: see the operator.
    :param stem: what ``{stem}`` becomes; default: by ``source``.
    :param read_input: returns the input's bytes for its preview; None where this task does not have them.
    """

    context: Context
    destination: str
    conn_id: str | None
    model: str
    source: str | None
    max_bytes: int
    if_exists: IfExists = "overwrite"
    sidecar: bool = False
    stem: str | None = None
    read_input: Callable[[], bytes | None] | None = None

    @cached_property
    def values(self) -> dict[str, str]:
        """What the destination's placeholders become, as far as it is known before the output is."""
        ti = self.context["ti"]
        index = -1 if ti.map_index is None else ti.map_index
        stem = self.stem or stem_of(self.source, otherwise=ti.task_id)
        return {"model": self.model, "map_index": str(index), "stem": stem}

    def _path(self, **later: str) -> ObjectStoragePath:
        return object_path(fill(self.destination, {**self.values, **_LATER, **later}), self.conn_id)

    @cached_property
    def _is_folder(self) -> bool:
        """True where the task's own name names the object: the URI says so, or a folder is there."""
        if self.destination.endswith("/"):
            return True
        path = self._path()
        with refused_early("destination", path):
            return bool(fresh(path).isdir(path.path))

    def check(self) -> None:
        """
        Check what can be checked without writing, on every try.

        :raises SegmindConfigError: a placeholder or the URI is wrong, or another mapped task has the same target.
        """
        path, index = self._path(), self.context["ti"].map_index
        if self.if_exists == "skip" and "request_id" in placeholders(self.destination):
            raise SegmindConfigError(NEVER_FOUND)
        told_apart = placeholders(self.destination) & {"request_id", "map_index"}
        if index is not None and index >= 0 and not told_apart and not self._is_folder:
            claim_target(self.context, str(path))

    def done(self, fingerprint: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """
        Look at what is there, right before a submit.

        :param fingerprint: of the request that is about to be submitted.
        :param body: its parameters, which may tell the output's format.
        :return: what the task hands on, where ``skip`` finds everything done.
        :raises SegmindConfigError: something is there, and ``fail`` was asked for.
        """
        if self.if_exists == "overwrite":
            return None
        for path in self._candidates(_ENDINGS.get(str(body.get("output_format") or body.get("image_format")))):
            if self.if_exists == "skip":
                if (value := find_done(path, fingerprint)) is not None:
                    same = "made from the same input with the same parameters"
                    why = f"{path} is there already, {same}. Nothing is submitted, nothing is billed"
                    telemetry.skipped(self.model, value, why)
                    return value
                continue
            with refused_early("destination", path):
                if fresh(path).exists(path.path):
                    raise SegmindConfigError(f"{path} is there already, and if_exists='fail'")
        return None

    def _candidates(self, expected: str | None) -> Iterator[ObjectStoragePath]:
        """Yield what the object may be called: some models tell the ending only once the object is there."""
        if "request_id" in placeholders(self.destination):
            return  # a new request has a new name
        named = not self._is_folder and "ext" not in placeholders(self.destination)
        endings = [expected or "bin"] if named or expected else self._endings()
        for ending in endings:
            path = self._path(ext=ending)
            yield path / f"{file_name(self.context)}.{ending}" if self._is_folder else path

    def _endings(self) -> list[str]:
        return [ending[1:] for ending in EXTENSIONS.values() if self.model not in MODELS or ending in _UPSCALED]

    def probe(self) -> None:
        """Write a few bytes beside the target and delete them: a place that cannot be written costs no request."""
        path = self._path()
        probe(path / "object" if self._is_folder else path)

    def store(
        self,
        hook: SegmindHook,
        result: Result,
        *,
        at_least: tuple[int, int] | None = None,
        about: Mapping[str, Any] | None = None,
        input_sha256: str | None = None,
    ) -> list[StoredObject]:
        """Store the outputs; the sidecar says ``about`` and which task it was. Of another input there is no preview."""
        previews = None
        if serves_previews():
            from airflow_provider_segmind.storage.previews import Previews

            previews = Previews(self.context["ti"].dag_id, lambda: self._input(input_sha256))
        ti = self.context["ti"]
        task = {name: getattr(ti, name) for name in ("dag_id", "run_id", "task_id", "map_index", "try_number")}
        return store_result(
            hook,
            result,
            self.destination,
            conn_id=self.conn_id,
            name=file_name(self.context),
            max_bytes=self.max_bytes,
            at_least=at_least,
            names=self.values,
            if_exists="fail" if self.if_exists == "fail" else "overwrite",
            about=About.model_validate({**(about or {}), "task": task}) if self.sidecar else None,
            previews=previews,
        )

    def _input(self, sha256: str | None) -> bytes | None:
        """Return the input as it was submitted. A resumed task reads it anew, and it may have changed meanwhile."""
        content = self.read_input() if self.read_input and sha256 else None
        if content is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise SegmindOutputError("the input has changed since it was submitted")
        return content
