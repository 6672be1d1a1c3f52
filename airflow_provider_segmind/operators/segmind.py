"""The operators with one request, under their public names: any model, a workflow, and the three upscalers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_provider_segmind.execution.options import (
    NOT_GIVEN,
    IfExists,
    InputOptions,
    InputTransport,
    OnLostSubmit,
    StorageOptions,
    SubmitOptions,
    WaitOptions,
)
from airflow_provider_segmind.hooks.segmind import SegmindHook
from airflow_provider_segmind.links.pages import SegmindPageLink, SegmindTabLink
from airflow_provider_segmind.links.segmind import SegmindOutputLink, SegmindStoredLink
from airflow_provider_segmind.operators.base import SegmindRequestOperator
from airflow_provider_segmind.operators.batch import SegmindBatchOperator
from airflow_provider_segmind.operators.credits import check_credits
from airflow_provider_segmind.protocol.models import (
    BriaIncreaseResolutionParameters,
    EsrganParameters,
    NomosUpscalerParameters,
)
from airflow_provider_segmind.runtime.settings import DEFERRABLE
from airflow_provider_segmind.storage.limits import KeepMetadata, Verify

__all__ = [
    "SegmindBatchOperator",
    "SegmindBriaIncreaseResolutionOperator",
    "SegmindEsrganOperator",
    "SegmindNomosUpscalerOperator",
    "SegmindRunModelOperator",
    "SegmindRunWorkflowOperator",
    "check_credits",
]

_SHARED_FIELDS = ("destination", "destination_conn_id", "segmind_conn_id")
_INPUT_FIELDS = ("input_path", "input_conn_id")


class SegmindRunModelOperator(SegmindRequestOperator):
    """
    Run any Segmind model by its slug: submit, wait without a worker, return (and store) the result.

    Returns a JSON object (XCom): ``request_id``, ``model``, ``status``, ``output`` (URL, or null where the output
    is not a URL), ``outputs`` (``[{url, content_type, file_name, file_size}]``), ``metrics`` (``cost`` in USD,
    ``remaining_credits`` in credits; ``inference_time``, ``queue_time``, ``total_time`` in seconds) and, with a
    destination, ``stored`` (``[{uri, bytes, sha256, content_type, width, height}]``; ``similarity`` to the input where
    it was compared; ``metadata`` that was kept of it; ``preview`` where ``[segmind] serve_previews`` is on, see
    docs/security.md). With ``wait_for_completion=False``: the request id.

    What cannot succeed on a retry (a refused key, a wrong parameter, a blocked image, …) fails the task permanently;
    what may succeed later (an unavailable gateway, a timeout, a broken store) is left to the task's retries. Each
    submit is billed once its request completes, and Segmind has no cancel call. A clear after a real success submits
    again; a task that failed after ``execute`` returned delivers the same result again. What is guaranteed, and on
    which assumptions: docs/reliability.md.

    Further arguments: :class:`.StorageOptions`, :class:`.WaitOptions`, :class:`.SubmitOptions`, and those of every
    task.

    :param model: slug, the last part of the model page's address, such as ``esrgan``. (templated)
    :param parameters: the model's parameters by name; the three upscalers' are validated against their pages
        before anything is submitted, any other model's are sent as they are. (templated)
    :param segmind_conn_id: Airflow connection (default ``segmind_default``); None for the key in ``SEGMIND_API_KEY``.
        (templated)
    """

    template_fields: Sequence[str] = ("model", "parameters", *_SHARED_FIELDS)
    template_fields_renderers = {"parameters": "json"}
    model: str

    def __init__(
        self,
        *,
        model: str,
        parameters: Mapping[str, Any] | str | None = None,
        destination: str | None = NOT_GIVEN,
        destination_conn_id: str | None = None,
        max_bytes: int = StorageOptions.max_bytes,
        verify: Verify | None = None,
        keep_metadata: KeepMetadata = StorageOptions.keep_metadata,
        if_exists: IfExists = StorageOptions.if_exists,
        skip_existing: bool = False,
        sidecar: bool = False,
        segmind_conn_id: str | None = SegmindHook.default_conn_name,
        deferrable: bool = DEFERRABLE,
        wait_for_completion: bool = True,
        poll_interval: float | None = None,
        expected_duration: float | None = None,
        timeout: float = WaitOptions.timeout,
        queue_timeout: float | None = None,
        defer_after: float = WaitOptions.defer_after,
        end_from_trigger: bool = False,
        durable: bool = True,
        on_lost_submit: OnLostSubmit = SubmitOptions.on_lost_submit,
        lost_submit_wait: float = SubmitOptions.lost_submit_wait,
        min_remaining_credits: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_arguments(locals())


class SegmindRunWorkflowOperator(SegmindRequestOperator):
    """
    Run a PixelFlow workflow: submit once, wait, return (and store) its outputs by name.

    Returns what :class:`.SegmindRunModelOperator` returns, with ``named``: each output by the name that it has in the
    workflow, a URL, a text or any JSON; null in place of what is too long for XCom (an image as base64). With a
    destination every output is stored: in a folder as ``<task id>_<name>.<extension>``, and ``stored`` states the
    ``name``; texts become ``.txt``, other values ``.json``. A workflow whose outputs are videos or sounds is stored
    like one whose outputs are images. Because the names are known only then, ``skip_existing`` is refused, and in a
    folder ``if_exists="fail"`` is checked only when an object is about to be replaced. The ledger works as for models;
    a submit whose response was lost is found as far as the request history lists the workflow under its slug, else
    ``on_lost_submit`` decides.

    Further arguments: :class:`.StorageOptions`, :class:`.WaitOptions`, :class:`.SubmitOptions`, and those of every
    task.

    :param workflow: slug of the workflow. (templated)
    :param inputs: its inputs by name; they are not validated before they are sent. (templated)
    :param segmind_conn_id: Airflow connection (default ``segmind_default``); None for the key in ``SEGMIND_API_KEY``.
        (templated)
    """

    template_fields: Sequence[str] = ("workflow", "inputs", *_SHARED_FIELDS)
    template_fields_renderers = {"inputs": "json"}
    # A workflow has no model page.
    operator_extra_links = (SegmindTabLink(), SegmindPageLink(), SegmindOutputLink(), SegmindStoredLink())
    runs_workflow = True
    slug_field, parameters_field = "workflow", "inputs"

    def __init__(
        self,
        *,
        workflow: str,
        inputs: Mapping[str, Any] | str | None = None,
        destination: str | None = NOT_GIVEN,
        destination_conn_id: str | None = None,
        max_bytes: int = StorageOptions.max_bytes,
        verify: Verify | None = None,
        if_exists: IfExists = StorageOptions.if_exists,
        skip_existing: bool = False,
        sidecar: bool = False,
        segmind_conn_id: str | None = SegmindHook.default_conn_name,
        deferrable: bool = DEFERRABLE,
        wait_for_completion: bool = True,
        poll_interval: float | None = None,
        expected_duration: float | None = None,
        timeout: float = WaitOptions.timeout,
        queue_timeout: float | None = None,
        defer_after: float = WaitOptions.defer_after,
        end_from_trigger: bool = False,
        durable: bool = True,
        on_lost_submit: OnLostSubmit = SubmitOptions.on_lost_submit,
        lost_submit_wait: float = SubmitOptions.lost_submit_wait,
        min_remaining_credits: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_arguments(locals())


class SegmindEsrganOperator(SegmindRequestOperator):
    """
    Upscale an image with ESRGAN. Page: https://www.segmind.com/models/esrgan.

    Returns what :class:`.SegmindRunModelOperator` returns. Further arguments: :class:`.InputOptions` (``image`` or
    ``input_path``), :class:`.StorageOptions`, :class:`.WaitOptions`, :class:`.SubmitOptions`, and those of every task.

    :param scale: factor: 2 (default), 4 or 8. (templated)
    :param output_format: ``jpeg``, ``png`` or ``webp``; default: that of the destination's extension, else ``jpeg``.
        (templated)
    :param quality: quality of the output, 10 to 100 (default 95). (templated)
    :param segmind_conn_id: Airflow connection (default ``segmind_default``); None for the key in ``SEGMIND_API_KEY``.
        (templated)
    """

    parameters_of = EsrganParameters
    model = parameters_of.slug
    template_fields: Sequence[str] = (*parameters_of.model_fields, *_INPUT_FIELDS, *_SHARED_FIELDS)

    def __init__(
        self,
        *,
        image: str | None = None,
        input_path: str | None = None,
        input_conn_id: str | None = None,
        input_transport: InputTransport = InputOptions.input_transport,
        max_input_bytes: int = InputOptions.max_input_bytes,
        scale: int | str = 2,
        output_format: str | None = None,
        quality: int | str = 95,
        destination: str | None = NOT_GIVEN,
        destination_conn_id: str | None = None,
        max_bytes: int = StorageOptions.max_bytes,
        verify: Verify | None = None,
        keep_metadata: KeepMetadata = StorageOptions.keep_metadata,
        if_exists: IfExists = StorageOptions.if_exists,
        skip_existing: bool = False,
        sidecar: bool = False,
        segmind_conn_id: str | None = SegmindHook.default_conn_name,
        deferrable: bool = DEFERRABLE,
        wait_for_completion: bool = True,
        poll_interval: float | None = None,
        expected_duration: float | None = None,
        timeout: float = WaitOptions.timeout,
        queue_timeout: float | None = None,
        defer_after: float = WaitOptions.defer_after,
        end_from_trigger: bool = False,
        durable: bool = True,
        on_lost_submit: OnLostSubmit = SubmitOptions.on_lost_submit,
        lost_submit_wait: float = SubmitOptions.lost_submit_wait,
        min_remaining_credits: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_arguments(locals())


class SegmindNomosUpscalerOperator(SegmindRequestOperator):
    """
    Upscale an image with Nomos Image Upscaler 4k. Page: https://www.segmind.com/models/nomos-upscaler.

    Returns what :class:`.SegmindRunModelOperator` returns. Further arguments: :class:`.InputOptions` (``image`` or
    ``input_path``), :class:`.StorageOptions`, :class:`.WaitOptions`, :class:`.SubmitOptions`, and those of every task.

    :param image_format: ``png``, ``jpg``, ``jpeg`` or ``webp``; default: that of the destination's extension, else
        ``png``. (templated)
    :param image_quality: quality of the output, 1 to 100 (default 90). (templated)
    :param base64: return the output inside the response; needs a ``destination`` to decode it into (default False: a
        URL). (templated)
    :param segmind_conn_id: Airflow connection (default ``segmind_default``); None for the key in ``SEGMIND_API_KEY``.
        (templated)
    """

    parameters_of = NomosUpscalerParameters
    model = parameters_of.slug
    template_fields: Sequence[str] = (*parameters_of.model_fields, *_INPUT_FIELDS, *_SHARED_FIELDS)

    def __init__(
        self,
        *,
        image: str | None = None,
        input_path: str | None = None,
        input_conn_id: str | None = None,
        input_transport: InputTransport = InputOptions.input_transport,
        max_input_bytes: int = InputOptions.max_input_bytes,
        image_format: str | None = None,
        image_quality: int | str = 90,
        base64: bool | str = False,
        destination: str | None = NOT_GIVEN,
        destination_conn_id: str | None = None,
        max_bytes: int = StorageOptions.max_bytes,
        verify: Verify | None = None,
        keep_metadata: KeepMetadata = StorageOptions.keep_metadata,
        if_exists: IfExists = StorageOptions.if_exists,
        skip_existing: bool = False,
        sidecar: bool = False,
        segmind_conn_id: str | None = SegmindHook.default_conn_name,
        deferrable: bool = DEFERRABLE,
        wait_for_completion: bool = True,
        poll_interval: float | None = None,
        expected_duration: float | None = None,
        timeout: float = WaitOptions.timeout,
        queue_timeout: float | None = None,
        defer_after: float = WaitOptions.defer_after,
        end_from_trigger: bool = False,
        durable: bool = True,
        on_lost_submit: OnLostSubmit = SubmitOptions.on_lost_submit,
        lost_submit_wait: float = SubmitOptions.lost_submit_wait,
        min_remaining_credits: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_arguments(locals())


class SegmindBriaIncreaseResolutionOperator(SegmindRequestOperator):
    """
    Upscale an image with Bria. Page: https://www.segmind.com/models/bria-increase-resolution.

    Returns what :class:`.SegmindRunModelOperator` returns. Further arguments: :class:`.InputOptions` (``image`` or
    ``input_path``), :class:`.StorageOptions`, :class:`.WaitOptions`, :class:`.SubmitOptions`, and those of every task.

    :param desired_increase: factor: 2 or 4 (default). (templated)
    :param preserve_alpha: keep transparency (default True). (templated)
    :param visual_input_content_moderation: moderate the input (default False). (templated)
    :param visual_output_content_moderation: moderate the output (default False). (templated)
    :param segmind_conn_id: Airflow connection (default ``segmind_default``); None for the key in ``SEGMIND_API_KEY``.
        (templated)
    """

    parameters_of = BriaIncreaseResolutionParameters
    model = parameters_of.slug
    template_fields: Sequence[str] = (*parameters_of.model_fields, *_INPUT_FIELDS, *_SHARED_FIELDS)

    def __init__(
        self,
        *,
        image: str | None = None,
        input_path: str | None = None,
        input_conn_id: str | None = None,
        input_transport: InputTransport = InputOptions.input_transport,
        max_input_bytes: int = InputOptions.max_input_bytes,
        desired_increase: int | str = 4,
        preserve_alpha: bool | str = True,
        visual_input_content_moderation: bool | str = False,
        visual_output_content_moderation: bool | str = False,
        destination: str | None = NOT_GIVEN,
        destination_conn_id: str | None = None,
        max_bytes: int = StorageOptions.max_bytes,
        verify: Verify | None = None,
        keep_metadata: KeepMetadata = StorageOptions.keep_metadata,
        if_exists: IfExists = StorageOptions.if_exists,
        skip_existing: bool = False,
        sidecar: bool = False,
        segmind_conn_id: str | None = SegmindHook.default_conn_name,
        deferrable: bool = DEFERRABLE,
        wait_for_completion: bool = True,
        poll_interval: float | None = None,
        expected_duration: float | None = None,
        timeout: float = WaitOptions.timeout,
        queue_timeout: float | None = None,
        defer_after: float = WaitOptions.defer_after,
        end_from_trigger: bool = False,
        durable: bool = True,
        on_lost_submit: OnLostSubmit = SubmitOptions.on_lost_submit,
        lost_submit_wait: float = SubmitOptions.lost_submit_wait,
        min_remaining_credits: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._set_arguments(locals())
