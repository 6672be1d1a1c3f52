"""The work of a task with many requests, from its arguments to what it returns or waits for; see :mod:`.batch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind import telemetry
from airflow_provider_segmind.execution.batch import BatchRules, BatchRun, Deferred
from airflow_provider_segmind.execution.folder import FolderStorage, StorageFolder
from airflow_provider_segmind.execution.gateway import SegmindModel
from airflow_provider_segmind.execution.input_source import check_download
from airflow_provider_segmind.execution.items import batch_lineage, wants_of
from airflow_provider_segmind.execution.manifest import BatchFolder
from airflow_provider_segmind.execution.options import BatchOptions, StorageOptions, SubmitOptions, WaitOptions
from airflow_provider_segmind.execution.task_engine import engine_of
from airflow_provider_segmind.execution.want import Want
from airflow_provider_segmind.execution.waves import BatchEvent, Limits
from airflow_provider_segmind.lineage import TaskLineage

if TYPE_CHECKING:
    from airflow_provider_segmind.execution.environment import TaskEnvironment


@dataclass(frozen=True)
class BatchArguments:
    """
    The arguments of a batch, rendered.

    :param model: the slug.
    :param items: dicts of parameters, or URLs of images.
    :param parameters: parameters of all items; an item's own take precedence.
    :param batch: how many it submits, and how many may fail.
    :param wait: how long each request may take.
    :param submit: when it submits.
    :param storage: the folder.
    """

    model: str
    items: Any
    parameters: Mapping[str, Any]
    batch: BatchOptions
    wait: WaitOptions
    submit: SubmitOptions
    storage: StorageOptions


@dataclass
class BatchTask:
    """
    The work of a batch, in one process.

    :param arguments: rendered.
    :param environment: what it needs from Airflow.
    :param check_count: called with the number of images that are not stored yet, before anything is submitted.
    :param emit: called with the lineage of the batch, once it has ended, with success or not.
    """

    arguments: BatchArguments
    environment: TaskEnvironment
    check_count: Callable[[int], None]
    emit: Callable[[TaskLineage], None]
    #: URI of the manifest, once the destination is known.
    manifest: str | None = field(default=None, init=False)
    #: The outputs are asked for inside the responses.
    inline: bool = field(default=False, init=False)

    def run(self, event: BatchEvent | None) -> Deferred | dict[str, Any]:
        """
        Continue until the batch defers or ends; return its numbers.

        :param event: what ended the wait; None where the task starts.
        :raises SegmindError: what ended the task.
        """
        arguments, environment = self.arguments, self.environment
        hook, storage = environment.hook, arguments.storage
        storage.validate_rendered()
        wants = wants_of(
            arguments.model,
            arguments.items,
            arguments.parameters,
            gateway=hook.settings.gateway,
            verify_images=event is None,
        )
        self.inline = any(want.body.get("base64") is True for want in wants)
        files = StorageFolder(str(storage.destination), conn_id=storage.destination_conn_id, model=arguments.model)
        folder = BatchFolder(files, environment.instance, environment.is_working)
        self.manifest = folder.manifest
        if event is None:
            self._check(wants, files, folder)
        engine = engine_of(
            environment,
            SegmindModel(hook, arguments.model, min_remaining_credits=arguments.submit.min_remaining_credits),
            arguments.submit,
            lambda want, result: telemetry.completed(result, one_of_many=True, submitted_at=want.record.submitted_at),
            batch=True,
        )
        outputs = FolderStorage(files, hook, {want.record.key: want for want in wants}, storage)
        owner = environment.instance.owner
        rules = BatchRules(
            model=arguments.model,
            owner=owner,
            limits=Limits(arguments.batch.requests_per_minute, arguments.batch.max_in_flight),
            timeout=arguments.wait.timeout,
            max_failures=arguments.batch.max_failures,
            execution_timeout=environment.execution_timeout,
            check_number=self.check_count,
            closing=lambda value: self.emit(batch_lineage(value, wants, arguments.parameters, owner=owner)),
        )
        return BatchRun(engine, folder, outputs, rules, wants).run(event)

    def _check(self, wants: Sequence[Want], files: StorageFolder, folder: BatchFolder) -> None:
        """Check before the first submit what costs nothing."""
        for want in wants:
            check_download(self.environment.hook, want.body.get("image"), self.arguments.storage)
        files.check(wants, folder.manifest)
