"""The work of the transfer: store the outputs of a request that is finished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindRequestExpiredError
from airflow_provider_segmind.execution.destination import Destination
from airflow_provider_segmind.execution.gateway import SegmindModel
from airflow_provider_segmind.execution.options import StorageOptions
from airflow_provider_segmind.execution.recover import recalled
from airflow_provider_segmind.protocol.wire import Result

if TYPE_CHECKING:
    from airflow_provider_segmind.execution.environment import TaskEnvironment
    from airflow_provider_segmind.hooks.segmind import SegmindHook


def store(result: Result, storage: StorageOptions, environment: TaskEnvironment) -> dict[str, Any]:
    """
    Return the result with ``stored``, once every output of it is stored.

    :param result: of a finished request; where it does not have its output, it is fetched by its request id.
    :raises SegmindError: the output cannot be fetched, verified or stored.
    """
    storage.validate_rendered()
    destination = Destination(
        hook=environment.hook,
        instance=environment.instance,
        options=storage,
        model=result.model,
        source=result.output,
        claim=environment.claim,
        serves_previews=environment.serves_previews,
        named=bool(result.named),
    )
    destination.check()
    destination.check_extension()
    destination.check_names()
    destination.check_not_input(None, "", {"outputs": [result.output, *(file.url for file in result.outputs)]})
    if not result.fetchable:
        result = fetch_result(environment.hook, result.request_id, result.model)
    return result.to_xcom() | {"stored": destination.store_one("", result)}


def fetch_result(hook: SegmindHook, request_id: str, model: str) -> Result:
    """Return the result of a request: by its record, or by the request history once that has expired."""
    segmind = SegmindModel(hook, model)
    try:
        return segmind.result(request_id)
    except SegmindRequestExpiredError as error:
        return recalled(segmind, error, model=model)


def read_result(value: Mapping[str, Any]) -> Result:
    """Read what an upscaling task, or the sensor, returned; raise SegmindConfigError for anything else."""
    try:
        return Result.model_validate(value)
    except ValidationError as error:
        raise SegmindConfigError(
            f"result must be what an upscaling task returned, not {value!r:.200} ({error.error_count()} faults)"
        ) from None
