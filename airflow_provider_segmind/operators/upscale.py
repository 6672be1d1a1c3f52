"""The three upscalers: SegmindRunModelOperator with the parameters of each model's page as arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError
from airflow_provider_segmind.execution.record import RequestRecord
from airflow_provider_segmind.execution.single import Prepared, Transport, submitted_before
from airflow_provider_segmind.operators.common import check_numbers, check_uris
from airflow_provider_segmind.operators.run_model import SegmindRunModelOperator
from airflow_provider_segmind.protocol.data_uris import data_uri
from airflow_provider_segmind.protocol.lifetimes import RECORD_LIVES
from airflow_provider_segmind.protocol.models import (
    BriaIncreaseResolutionParameters,
    EsrganParameters,
    ModelParameters,
    NomosUpscalerParameters,
    request_body,
)
from airflow_provider_segmind.storage.limits import MAX_INPUT_BYTES

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

#: Seconds by which a presigned URL outlives the request's record, or the timeout.
_SIGNED_LONGER = 900.0
_SHARED_FIELDS = ("input_path", "input_conn_id", "destination", "destination_conn_id", "segmind_conn_id")


class SegmindUpscaleOperator(SegmindRunModelOperator):
    """
    What the three upscalers share: where the picture comes from.

    :param image: http(s) URL or base64 data URI of the picture. Never read as a local file, so that a value that
        a user of the DAG may set cannot make a worker send a file of its own. (templated)
    :param input_path: instead of ``image``: URI of the picture in any storage that ``ObjectStoragePath`` knows;
        it is read when the task runs. (templated)
    :param input_conn_id: Airflow connection of that storage. (templated)
    :param input_transport: how that picture goes to Segmind: ``upload`` (through its upload call; the address is kept
        in the ledger, so that a retry does not upload again), ``data`` (inside the request, as a data URI; only for
        models whose page takes base64: nomos), ``presign`` (a presigned URL, where the store can sign: Segmind reads
        the bucket itself; the URL outlives the request and works for whoever has it), or ``auto`` (default:
        ``data`` up to 1 MiB where the page takes base64, else ``upload``).
    :param max_input_bytes: refuse a larger picture (bytes; default 64 MiB).
    """

    parameters_of: ClassVar[type[ModelParameters]]

    def __init__(
        self,
        *,
        image: str | None = None,
        input_path: str | None = None,
        input_conn_id: str | None = None,
        input_transport: Literal["auto", "data", "upload", "presign"] = "auto",
        max_input_bytes: int = MAX_INPUT_BYTES,
        **kwargs: Any,
    ) -> None:
        # Set before super().__init__(), which checks the literals among them.
        self.image = image
        self.input_path = input_path
        self.input_conn_id = input_conn_id
        self.input_transport = input_transport
        self.max_input_bytes = max_input_bytes
        if (image is None) == (input_path is None):
            raise SegmindConfigError("give the picture either as image= or as input_path=, not both and not neither")
        if "parameters" in kwargs:
            raise SegmindConfigError("this operator takes each parameter by its own name, not parameters=")
        check_uris(input_path=input_path)
        check_numbers(positive={"max_input_bytes": max_input_bytes}, not_negative={}, whole=("max_input_bytes",))
        if input_transport not in ("auto", *get_args(Transport)):
            raise SegmindConfigError(f"input_transport must be auto, data, upload or presign, not {input_transport!r}")
        if input_transport == "data" and not self.parameters_of.takes_base64:
            raise SegmindConfigError(f"the page of {self.parameters_of.slug} takes a URL: use upload, presign or auto")
        super().__init__(model=self.parameters_of.slug, **kwargs)

    def _named_parameters(self) -> dict[str, Any]:
        named = {name: getattr(self, name) for name in self.parameters_of.model_fields}
        if self.image is None:
            del named["image"]
        return named

    def _pending_names(self) -> set[str]:
        return {"image"} if self.image is None else set()

    def _body(self) -> dict[str, Any]:
        if self.input_path is None:
            return super()._body()
        # Everything else is checked first, with a stand-in for the picture: reading it is work, too.
        body = request_body(self.model, {**self._named_parameters(), "image": "https://upload.invalid/"})
        del body["image"]
        return body

    def _source(self) -> str | None:
        return self.image if self.input_path is None else self.input_path

    def _input_path(self) -> ObjectStoragePath | None:
        if self.input_path is None:
            return None
        from airflow_provider_segmind.storage.paths import object_path

        return object_path(self.input_path, self.input_conn_id)

    def _read_input(self) -> bytes | None:
        if (path := self._input_path()) is None:
            return super()._read_input()
        from airflow_provider_segmind.storage.inputs import read_input

        return read_input(path, self.max_input_bytes)

    def _prepare(self) -> Prepared:
        if self.image is None and self.input_path is None:
            raise SegmindConfigError("neither image nor input_path names a picture: a template rendered to nothing")
        return super()._prepare()

    def _with_input(self, prepared: Prepared, submitted: Callable[[], Iterable[RequestRecord]]) -> Prepared:
        if (path := self._input_path()) is None:
            return prepared
        try:
            return self._read(prepared)
        except SegmindError as error:
            gateway = self.hook.settings.gateway
            return submitted_before(submitted(), prepared, str(path), self.model, gateway, error)

    def _read(self, prepared: Prepared) -> Prepared:
        from airflow_provider_segmind.storage.inputs import goes_inside, load_image

        image = load_image(str(self.input_path), self.input_conn_id, max_bytes=self.max_input_bytes)
        transport = self.input_transport
        if transport == "auto":
            transport = "data" if goes_inside(image, self.parameters_of) else "upload"
        body = dict(prepared.body)
        if transport == "data":
            body["image"] = data_uri(image.content)
        elif transport == "presign":
            body["image"] = image.sign(max(RECORD_LIVES, self.timeout) + _SIGNED_LONGER)
        self.log.info("Input %s: %d bytes, by %s", image.path, len(image.content), transport)
        source = {
            "uri": str(image.path),
            "bytes": len(image.content),
            "sha256": image.sha256,
            "width": image.size[0],
            "height": image.size[1],
            "transport": transport,
        }
        return replace(prepared.of(source), body=body, upload=image.content if transport == "upload" else None)


class SegmindEsrganOperator(SegmindUpscaleOperator):
    """
    Upscale a picture with ESRGAN. Page: https://www.segmind.com/models/esrgan.

    The other arguments and what it returns: :class:`.SegmindUpscaleOperator`, :class:`.SegmindRunModelOperator`.

    :param scale: by how much: 2 (default), 4 or 8. (templated)
    :param output_format: ``jpeg`` (default), ``png`` or ``webp``. (templated)
    :param quality: quality of the output, 10 to 100 (default 95). (templated)
    """

    parameters_of = EsrganParameters
    template_fields: Sequence[str] = ("image", "scale", "output_format", "quality", *_SHARED_FIELDS)

    def __init__(
        self, *, scale: int | str = 2, output_format: str = "jpeg", quality: int | str = 95, **kwargs: Any
    ) -> None:
        self.scale = scale
        self.output_format = output_format
        self.quality = quality
        super().__init__(**kwargs)


class SegmindNomosUpscalerOperator(SegmindUpscaleOperator):
    """
    Upscale a picture with Nomos Image Upscaler 4k. Page: https://www.segmind.com/models/nomos-upscaler.

    The other arguments and what it returns: :class:`.SegmindUpscaleOperator`, :class:`.SegmindRunModelOperator`.

    :param image_format: ``png`` (default), ``jpg``, ``jpeg`` or ``webp``. (templated)
    :param image_quality: quality of the output, 1 to 100 (default 90). (templated)
    :param base64: have the picture sent inside the answer; needs a ``destination`` to decode it into
        (default False: a URL). (templated)
    """

    parameters_of = NomosUpscalerParameters
    template_fields: Sequence[str] = ("image", "image_format", "image_quality", "base64", *_SHARED_FIELDS)

    def __init__(
        self,
        *,
        image_format: str = "png",
        image_quality: int | str = 90,
        base64: bool | str = False,
        **kwargs: Any,
    ) -> None:
        self.image_format = image_format
        self.image_quality = image_quality
        self.base64 = base64
        super().__init__(**kwargs)


class SegmindBriaIncreaseResolutionOperator(SegmindUpscaleOperator):
    """
    Upscale a picture with Bria. Page: https://www.segmind.com/models/bria-increase-resolution.

    The other arguments and what it returns: :class:`.SegmindUpscaleOperator`, :class:`.SegmindRunModelOperator`.

    :param desired_increase: by how much: 2 or 4 (default). (templated)
    :param preserve_alpha: keep transparency (default True). (templated)
    :param visual_input_content_moderation: moderate the input (default False). (templated)
    :param visual_output_content_moderation: moderate the output (default False). (templated)
    """

    parameters_of = BriaIncreaseResolutionParameters
    template_fields: Sequence[str] = (
        "image",
        "desired_increase",
        "preserve_alpha",
        "visual_input_content_moderation",
        "visual_output_content_moderation",
        *_SHARED_FIELDS,
    )

    def __init__(
        self,
        *,
        desired_increase: int | str = 4,
        preserve_alpha: bool | str = True,
        visual_input_content_moderation: bool | str = False,
        visual_output_content_moderation: bool | str = False,
        **kwargs: Any,
    ) -> None:
        self.desired_increase = desired_increase
        self.preserve_alpha = preserve_alpha
        self.visual_input_content_moderation = visual_input_content_moderation
        self.visual_output_content_moderation = visual_output_content_moderation
        super().__init__(**kwargs)
