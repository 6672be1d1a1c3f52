"""
Which HTTP status means which error: one total table, and the cases in which the vendor's message decides.

Sources: the model pages list 400, 401, 403, 404, 406, 429, 500, 502, 504; the other rows and the four
meanings of 406 come from the vendor's documentation.
"""

from __future__ import annotations

import re

from airflow_provider_segmind.exceptions import (
    SegmindAuthError,
    SegmindContentBlockedError,
    SegmindContentTypeError,
    SegmindError,
    SegmindGatewayError,
    SegmindInsufficientCreditsError,
    SegmindInvalidRequestError,
    SegmindMalformedResponseError,
    SegmindNotFoundError,
    SegmindPermissionError,
    SegmindRateLimitedError,
    SegmindRequestExpiredError,
    SegmindRequestFailedError,
    SegmindRetiredModelError,
    SegmindServerError,
    SegmindSpendLimitError,
    SegmindUnknownModelError,
)

#: HTTP status -> class, for every call. error_class() decides what depends on the call or on the vendor's message.
STATUS_ERRORS: dict[int, type[SegmindError]] = {
    400: SegmindInvalidRequestError,
    401: SegmindAuthError,
    402: SegmindInsufficientCreditsError,
    403: SegmindPermissionError,
    404: SegmindNotFoundError,
    405: SegmindInvalidRequestError,
    406: SegmindInsufficientCreditsError,
    408: SegmindGatewayError,
    410: SegmindRetiredModelError,
    413: SegmindInvalidRequestError,
    415: SegmindContentTypeError,
    422: SegmindInvalidRequestError,
    429: SegmindRateLimitedError,
    500: SegmindServerError,
    502: SegmindGatewayError,
    503: SegmindGatewayError,
    504: SegmindGatewayError,
}

_CONTENT_TYPE = re.compile(r"content[- ]?type", re.IGNORECASE)
_SPEND_LIMIT = re.compile(r"spend|budget|team.{0,40}limit|limit.{0,40}team", re.IGNORECASE)
_CREDITS = re.compile(r"credit|balance|top.?up|insufficient", re.IGNORECASE)
_CONTENT_BLOCKED = re.compile(
    r"moderat|content polic|usage polic|nsfw|\brai\b|responsible ai|safety|unsafe|sensitive content"
    r"|content[^.]{0,30}(block|flag)|(block|flag|prohibit)[^.]{0,30}content",
    re.IGNORECASE,
)


def _class_for_406(message: str) -> type[SegmindError]:
    """Return which of the four meanings a 406 has, by the vendor's message; without one it means credits."""
    if _CONTENT_TYPE.search(message):
        return SegmindContentTypeError
    if _SPEND_LIMIT.search(message):
        return SegmindSpendLimitError
    if not message or _CREDITS.search(message):
        return SegmindInsufficientCreditsError
    return SegmindInvalidRequestError


def error_class(status: int, message: str, *, about: str) -> type[SegmindError]:
    """
    Return the error class of a response. Total: every status has one.

    :param status: HTTP status of the response.
    :param message: the vendor's message.
    :param about: what the call is about: ``"model"``, ``"request"`` or ``"account"``.
    """
    if status == 404 and about != "account":
        return SegmindUnknownModelError if about == "model" else SegmindRequestExpiredError
    if status == 406:
        return _class_for_406(message)
    if status in STATUS_ERRORS:
        return STATUS_ERRORS[status]
    if status >= 500:
        return SegmindGatewayError
    return SegmindInvalidRequestError if 400 <= status < 500 else SegmindMalformedResponseError


def failed_class(message: str) -> type[SegmindRequestFailedError]:
    """Return the error class of a FAILED request: a content block differs by its message only."""
    return SegmindContentBlockedError if _CONTENT_BLOCKED.search(message) else SegmindRequestFailedError
