"""
Which HTTP status means which error: one total table, and the places where the vendor's words decide.

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

#: HTTP status -> class, for every call. What depends on the call or on the vendor's words is in error_for().
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


def _class_for_406(words: str) -> type[SegmindError]:
    """406 has four meanings, told apart by the vendor's words; without words it is the page's: credits."""
    if _CONTENT_TYPE.search(words):
        return SegmindContentTypeError
    if _SPEND_LIMIT.search(words):
        return SegmindSpendLimitError
    if not words or _CREDITS.search(words):
        return SegmindInsufficientCreditsError
    return SegmindInvalidRequestError


def error_class(status: int, words: str, *, about: str) -> type[SegmindError]:
    """
    Return the class for an answer of ``status``. Total: every status has one.

    :param status: HTTP status of the answer.
    :param words: what the vendor said.
    :param about: what the call named: ``"model"``, ``"request"`` or ``"account"``.
    """
    if status == 404 and about != "account":
        return SegmindUnknownModelError if about == "model" else SegmindRequestExpiredError
    if status == 406:
        return _class_for_406(words)
    if status in STATUS_ERRORS:
        return STATUS_ERRORS[status]
    if status >= 500:
        return SegmindGatewayError
    return SegmindInvalidRequestError if 400 <= status < 500 else SegmindMalformedResponseError


def failed_class(words: str) -> type[SegmindRequestFailedError]:
    """Content blocks are FAILED too, not a state of their own: only the words tell."""
    return SegmindContentBlockedError if _CONTENT_BLOCKED.search(words) else SegmindRequestFailedError
