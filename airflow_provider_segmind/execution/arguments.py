"""The arguments of a task with one request: what its options mean together, validated before anything is submitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.execution.options import (
    InputOptions,
    StorageOptions,
    SubmitOptions,
    WaitOptions,
    is_final,
)
from airflow_provider_segmind.protocol.data_uris import canonical_image
from airflow_provider_segmind.protocol.formats import with_format
from airflow_provider_segmind.protocol.models import MODELS, PENDING_IMAGE, ModelParameters, check_known, request_body
from airflow_provider_segmind.storage.names import LONGEST_VALUES, fill, stem_of


@dataclass(frozen=True)
class RequestArguments:
    """
    The arguments of a task with one request, rendered or not.

    :param model: the slug.
    :param parameters: the model's parameters by name; of an upscaler without ``image``, which is in ``input``.
    :param wait: how it waits.
    :param submit: when it submits.
    :param storage: where the output is stored.
    :param input: where the image of an upscaler comes from; None if the parameters are everything.
    :param typed: the parameters of an upscaler's page.
    :param is_workflow: the slug is that of a PixelFlow workflow.
    :param computed: the task itself computes the parameters: a resumed task knows them by its event only.
    :param stores: a destination was given: a template that renders to None is an error, not "store nothing".
    :param none_given: the destination was given as None, which a mapped task may not be.
    :param has_outlets: the task has outlets, whose asset events a worker emits when it has stored the output.
    """

    model: str
    parameters: Any
    wait: WaitOptions
    submit: SubmitOptions
    storage: StorageOptions
    input: InputOptions | None = None
    typed: type[ModelParameters] | None = None
    is_workflow: bool = False
    computed: bool = False
    stores: bool = False
    none_given: bool = False
    has_outlets: bool = False

    # --- what they mean ---------------------------------------------------------------------------------------

    def named(self) -> Any:
        """Return the model's parameters by name, rendered or not."""
        if self.input is None or self.input.image is None:
            return {} if self.parameters is None else self.parameters
        return {"image": self.input.image, **self.parameters}

    def body(self) -> dict[str, Any]:
        """
        Return the validated parameters, without an image that is still to be read.

        :raises SegmindConfigError: naming the parameter that is wrong.
        """
        if self.input is None or self.input.input_path is None:
            return request_body(self.model, self._formatted(self.named()), workflow=self.is_workflow)
        body = request_body(self.model, {**self._formatted(self.named()), "image": PENDING_IMAGE})
        del body["image"]
        return body

    def source(self) -> str | None:
        """Return the input's URI or URL, or the image itself as base64; None if there is no image."""
        if self.input is not None and self.input.input_path is not None:
            return self.input.input_path
        named = self.named()
        image = named.get("image") if isinstance(named, Mapping) else None
        return canonical_image(image) if isinstance(image, str) else None

    def _formatted(self, named: Any) -> Any:
        """Return the parameters with the format that the destination's extension selects."""
        if self.is_workflow or not isinstance(named, Mapping):
            return named
        uri = self.storage.destination
        if isinstance(uri, str):
            known = {"model": self.model, "stem": stem_of(self.source(), otherwise="task")}
            uri = fill(uri, {**LONGEST_VALUES, "map_index": "0", "ext": "_", **known})
        return with_format(self.model, named, uri)

    # --- validation -------------------------------------------------------------------------------------------

    def validate(self) -> None:
        """
        Validate every literal, so that a mistake breaks the import of the DAG and not a run at night.

        :raises SegmindConfigError: naming the argument that is wrong.
        """
        self._validate_input()
        self._validate_storage()
        if self.has_outlets and not self.wait.wait_for_completion:
            raise SegmindConfigError(
                "outlets: with wait_for_completion=False there is no image yet: give them to the task that stores it"
            )
        if self.wait.end_from_trigger:
            self._validate_end_from_trigger()
        if not self.computed and is_final(self.model):
            self._validate_parameters()

    def validate_rendered(self, map_index: int) -> dict[str, Any]:
        """
        Validate what is rendered, and return the body.

        :param map_index: -1 where the task is not mapped.
        :raises SegmindConfigError: naming the argument that is wrong; nothing was submitted.
        """
        if self.none_given and map_index >= 0:
            raise SegmindConfigError(
                f"destination of the mapped task {map_index} is None: nothing would be stored",
                next_step="Nothing was submitted. Give a destination, or leave the argument out to store nothing.",
            )
        if self.input is not None and self.input.image is None and self.input.input_path is None:
            raise SegmindConfigError("image, input_path: neither names an image; a template rendered to nothing")
        body = self.body()
        check_inline_output(body, is_stored=self._is_stored)
        self.validate_destination()
        return body

    def validate_destination(self) -> None:
        """Raise SegmindConfigError if a destination was given and its template rendered to nothing."""
        if self.stores:
            self.storage.validate_rendered()

    @property
    def _is_stored(self) -> bool:
        return self.storage.destination is not None or not self.wait.wait_for_completion

    def _validate_input(self) -> None:
        if self.input is None or self.typed is None:
            return
        if (self.input.image is None) == (self.input.input_path is None):
            raise SegmindConfigError("give exactly one of image= and input_path=")
        if self.input.input_transport == "data" and not self.typed.takes_base64:
            raise SegmindConfigError(
                f"input_transport: the page of {self.typed.slug} accepts a URL only: use upload, presign or auto"
            )

    def _validate_storage(self) -> None:
        storage = self.storage
        if storage.skip_existing and storage.if_exists == "fail":
            raise SegmindConfigError("skip_existing=True and if_exists='fail' contradict each other")
        if storage.destination is None:
            if unused := storage.given_without_destination:
                raise SegmindConfigError(f"{', '.join(unused)} need a destination")
            return
        if not self.wait.wait_for_completion:
            raise SegmindConfigError(
                "destination: wait_for_completion=False returns before there is an output; store it in a later task"
            )
        if self.typed is None and (self.is_workflow or is_final(self.model)):
            check_compared(self.model, storage, is_workflow=self.is_workflow)
        if self.is_workflow and storage.on_existing == "skip":
            raise SegmindConfigError(
                "skip_existing=True and if_exists='skip' cannot find the outputs of a workflow before it has run: "
                "it names them itself"
            )
        if is_final(storage.destination):
            storage.validate_placeholders()
            if is_final(self.model) and not self.is_workflow:
                with_format(self.model, {}, storage.destination)

    def _validate_end_from_trigger(self) -> None:
        """Refuse what needs a worker after the wait: it would be missing without a message."""
        if not self.wait.deferrable or not self.wait.wait_for_completion:
            raise SegmindConfigError("end_from_trigger=True needs deferrable=True and wait_for_completion=True")
        if self.storage.destination is not None:
            raise SegmindConfigError(
                "end_from_trigger=True stores nothing: leave destination out and store in a task of its own"
            )
        if self.has_outlets:
            raise SegmindConfigError("end_from_trigger=True emits no asset events: leave outlets out")

    def _validate_parameters(self) -> None:
        named = self.named()
        if not isinstance(named, Mapping):
            if is_final(named):
                raise SegmindConfigError(f"parameters must be a dict, not {type(named).__name__}")
            return
        pending = {name for name, value in named.items() if not is_final(value)}
        if self.input is not None and self.input.image is None:
            pending.add("image")
        if not self.is_workflow:
            final = {name: value for name, value in named.items() if name not in pending}
            destination = self.storage.destination if is_final(self.storage.destination) else None
            check_known(self.model, with_format(self.model, final, destination), pending=pending)
        check_inline_output(named, is_stored=self._is_stored)


def check_compared(model: str, storage: StorageOptions, *, is_workflow: bool = False) -> None:
    """Refuse to compare, or to copy metadata, for a model whose outputs are not enlarged inputs."""
    refused = storage.needing_input if is_workflow or model not in MODELS else []
    if refused:
        given = ", ".join(f"{name}={getattr(storage, name)!r}" for name in refused)
        raise SegmindConfigError(
            f"{given}: only the upscalers ({', '.join(MODELS)}) enlarge their input, not {model}",
            next_step=f"Leave {' and '.join(refused)} out.",
        )


def check_inline_output(parameters: Mapping[str, Any], *, is_stored: bool) -> None:
    """Refuse an output as base64 that would be returned as an XCom: it is megabytes of text."""
    asked = parameters.get("base64")
    wanted = asked is True or (isinstance(asked, str) and asked.strip().lower() == "true")
    if wanted and not is_stored:
        raise SegmindConfigError(
            "base64=True returns the image as text, which does not fit through XCom: give a destination= "
            "to decode it into, or leave base64 out to get a URL"
        )
