"""Types of models' parameters: what pydantic accepts for an image or a number."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BeforeValidator

from airflow_provider_segmind.protocol.content_types import HEAD, is_image
from airflow_provider_segmind.protocol.data_uris import announced_type, data_uri, decode_base64, is_data_uri

_HTTP_URL = re.compile(r"https?://[^\s/?#]+\S*", re.IGNORECASE)
_MIN_BASE64 = 64  # characters; a shorter text without a data URI's header may be a path
_FROM_STORAGE = "Give a file or an object in a bucket as input_path="


def image_source(value: str, *, takes_base64: bool, operator: str) -> str:
    """
    Return the image of a request as it is sent: a URL, or a data URI in its canonical spelling.

    Two spellings of one image are the same request.

    :param value: a URL, a data URI or base64.
    :param takes_base64: the page of the model accepts base64.
    :param operator: name of the model's operator, for the error.
    :raises ValueError: it is neither, or the model does not accept it.
    """
    if _HTTP_URL.fullmatch(value):
        return value
    if not takes_base64:
        raise ValueError(
            f"must be an http(s) URL: the model's page accepts nothing else. {_FROM_STORAGE} of {operator}; "
            "input_transport= chooses how it is sent"
        )
    content = decode_base64(value)
    if is_data_uri(value):
        if content is None:
            raise ValueError("the data URI does not hold valid base64")
        return data_uri(content, announced_type(value))
    if content is None or len(value) < _MIN_BASE64 or not is_image(content[:HEAD]):
        raise ValueError(f"must be an http(s) URL, a base64 data URI, or base64 of an image. {_FROM_STORAGE}")
    return data_uri(content)


def _number(value: Any) -> Any:
    """Accept "2" for 2, as in esrgan's own example, but not True for 1."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not a boolean")  # noqa: TRY004  pydantic collects ValueError only
    if isinstance(value, str) and re.fullmatch(r"\s*\d{1,9}\s*", value):
        return int(value)
    return value


#: Validates a number before its type: ``Annotated[int, AS_NUMBER]``.
AS_NUMBER = BeforeValidator(_number)
