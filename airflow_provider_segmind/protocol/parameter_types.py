"""Types of models' parameters: what pydantic accepts for an image or a number."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from airflow_provider_segmind.protocol.content_types import is_image
from airflow_provider_segmind.protocol.data_uris import decode_base64, is_data_uri

_HTTP_URL = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)
#: Characters of base64 that are decoded to recognize an image.
_HEAD = 64


def _image_source(value: str) -> str:
    if _HTTP_URL.fullmatch(value):
        return value
    if is_data_uri(value):
        if decode_base64(value) is None:
            raise ValueError("the data URI does not hold valid base64")
        return value
    raise ValueError("must be an http(s) URL or a base64 data URI; pass a file or an object in a bucket as input_path=")


def _image_source_or_base64(value: str) -> str:
    head = decode_base64(value[:_HEAD]) if len(value) >= _HEAD else None
    if head is not None and is_image(head) and decode_base64(value) is not None:
        return value
    return _image_source(value)


def _number(value: Any) -> Any:
    """Accept "2" for 2, as in esrgan's own example, but not True for 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not a boolean")  # noqa: TRY004  pydantic collects ValueError only
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,9}\s*", value):
        return int(value)
    return value


ImageSource = Annotated[str, AfterValidator(_image_source)]
ImageSourceOrBase64 = Annotated[str, AfterValidator(_image_source_or_base64)]
#: Validates a number before its type: ``Annotated[int, AS_NUMBER]``.
AS_NUMBER = BeforeValidator(_number)
