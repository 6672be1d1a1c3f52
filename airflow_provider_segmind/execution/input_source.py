"""Where the image of a request comes from: its parameters, or storage, from where it is sent as the author chose."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError, SegmindForbiddenHostError
from airflow_provider_segmind.execution.arguments import RequestArguments
from airflow_provider_segmind.execution.options import InputOptions, StorageOptions
from airflow_provider_segmind.execution.record import RequestRecord
from airflow_provider_segmind.execution.single import Prepared, submitted_before
from airflow_provider_segmind.protocol.data_uris import data_uri, decode_base64
from airflow_provider_segmind.protocol.hosts import check_name
from airflow_provider_segmind.protocol.lifetimes import RECORD_LIVES
from airflow_provider_segmind.protocol.urls import is_url
from airflow_provider_segmind.storage.inputs import goes_inside, load_image, read_input
from airflow_provider_segmind.storage.paths import object_path

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_segmind.hooks.segmind import SegmindHook

log = logging.getLogger(__name__)

#: Seconds by which a presigned URL outlives the request's record, or the timeout.
_SIGNED_LONGER = 900.0


def path_of(arguments: RequestArguments) -> ObjectStoragePath | None:
    """Return the path of an input that is read from storage."""
    if arguments.input is None or arguments.input.input_path is None:
        return None
    return object_path(arguments.input.input_path, arguments.input.input_conn_id)


def content_of(arguments: RequestArguments, hook: SegmindHook) -> bytes | None:
    """
    Return the input's bytes again: for its preview, to be compared with the output, and for its metadata.

    :param hook: downloads an input that is a URL, by the rules for outputs.
    :return: None if the input is a URL and no argument needs its content, or if the input is missing.
    """
    if arguments.input is not None and (path := path_of(arguments)) is not None:
        return read_input(path, arguments.input.max_input_bytes)
    limit = InputOptions.max_input_bytes if arguments.input is None else arguments.input.max_input_bytes
    return content_of_image(hook, arguments.source(), arguments.storage, max_bytes=limit)


def check_download(hook: SegmindHook, image: Any, storage: StorageOptions) -> None:
    """
    Check before a submit that an input which will be downloaded may be downloaded.

    :raises SegmindConfigError: the rules for downloads refuse its address.
    """
    if not storage.needing_input or not is_url(image):
        return
    try:
        check_name(image, hook.settings)
    except SegmindForbiddenHostError as error:
        needed = " and ".join(storage.needing_input)
        raise SegmindConfigError(
            f"image: {needed} needs a download of the input, which is refused: {error.detail}",
            next_step=f"Nothing was submitted. {error.next_step} Or leave {needed} out.",
        ) from None


def content_of_image(
    hook: SegmindHook, image: Any, storage: StorageOptions, *, max_bytes: int = InputOptions.max_input_bytes
) -> bytes | None:
    """
    Return the bytes of an input that is in the parameters.

    :param hook: downloads a URL, by the rules for outputs.
    :param image: a URL or base64.
    :param storage: a URL is downloaded only if one of its arguments needs the input; else None is returned.
    :param max_bytes: refuse a larger input (bytes; default 64 MiB).
    :raises SegmindOutputError: it is too large, or the download failed.
    """
    if not is_url(image):
        return decode_base64(image) if isinstance(image, str) else None
    if not storage.needing_input:
        return None
    file = io.BytesIO()
    hook.download(image, file, max_bytes=max_bytes)
    return file.getvalue()


def with_input(
    arguments: RequestArguments,
    prepared: Prepared,
    gateway: str,
    submitted: Callable[[], Iterable[RequestRecord]],
) -> Prepared:
    """
    Return the request with the input that is read from storage, if there is one.

    :param gateway: base URL of the gateway.
    :param submitted: returns the request records of this task instance: where the input cannot be read any more, the
        request that was submitted with it is fetched without it.
    :raises SegmindError: the input cannot be read, and was never submitted.
    """
    options, path = arguments.input, path_of(arguments)
    if options is None or path is None:
        return prepared
    try:
        return _read(arguments, options, prepared)
    except SegmindError as error:
        return submitted_before(submitted(), prepared, str(path), arguments.model, gateway, error)


def _read(arguments: RequestArguments, options: InputOptions, prepared: Prepared) -> Prepared:
    image = load_image(str(options.input_path), options.input_conn_id, max_bytes=options.max_input_bytes)
    transport = options.input_transport
    if transport == "auto":
        transport = "data" if goes_inside(image, arguments.typed) else "upload"
    body = dict(prepared.body)
    if transport == "data":
        body["image"] = data_uri(image.content)
    elif transport == "presign":
        body["image"] = image.sign(max(RECORD_LIVES, arguments.wait.timeout) + _SIGNED_LONGER)
    log.info("Input %s: %d bytes, sent by %s", image.path, len(image.content), transport)
    source = {
        "uri": str(image.path),
        "bytes": len(image.content),
        "sha256": image.sha256,
        "width": image.size[0],
        "height": image.size[1],
        "transport": transport,
    }
    return replace(prepared.of(source), body=body, upload=image.content if transport == "upload" else None)
