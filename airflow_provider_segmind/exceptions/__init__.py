"""
Every error of this package. Which HTTP status becomes which class: ``protocol/status.py``.

::

    SegmindError
    ├── SegmindConfigError            connection or argument is wrong; nothing was sent
    ├── SegmindConnectionError        no answer, and for a submit: certainly not accepted
    ├── SegmindUnknownOutcomeError        a submit left, its answer did not arrive: it may be billed
    ├── SegmindResponseError            the gateway answered, and the answer is an error
    │   ├── SegmindInvalidRequestError        400, 405, 406 on a parameter, 422 on a submit
    │   ├── SegmindContentTypeError           406 / 415 "Invalid content type"
    │   ├── SegmindAuthError                  401
    │   ├── SegmindPermissionError            403
    │   ├── SegmindUnknownModelError          404 on a submit
    │   ├── SegmindNotFoundError              404 on anything else
    │   ├── SegmindRetiredModelError          410
    │   ├── SegmindInsufficientCreditsError   402, 406
    │   │   └── SegmindSpendLimitError        406 that names a spend limit
    │   ├── SegmindRateLimitedError           429, knows when to come back
    │   ├── SegmindServerError                500
    │   ├── SegmindGatewayError               502, 503, 504 and any other 5xx
    │   └── SegmindMalformedResponseError       an answer that cannot be read as what was asked for
    │       ├── SegmindUnknownStatusError     a status this version does not know
    │       └── SegmindMissingOutputError     COMPLETED without a usable output
    ├── SegmindRequestError           about one request that was accepted
    │   ├── SegmindRequestExpiredError        unknown, or past the hour that Segmind keeps it
    │   ├── SegmindRequestFailedError         FAILED; not charged
    │   │   └── SegmindContentBlockedError    FAILED because of its content
    │   └── SegmindTimeoutError               not finished within our own deadline
    ├── SegmindOutputError            the output is not what it should be (no picture, too small, too large)
    │   ├── SegmindForbiddenHostError         an output's address that a worker must not read
    │   └── SegmindDownloadError              the download broke, however often it was tried
    ├── SegmindStorageError           the output could not be written to its destination
    ├── SegmindBatchError             more of a batch failed than is allowed
    └── SegmindEventError             a trigger's event that this version cannot read

``retryable`` answers one question: would the same call, made again later, have a chance?
"""

from __future__ import annotations

from airflow_provider_segmind.exceptions.base import (
    SegmindConfigError,
    SegmindConnectionError,
    SegmindError,
    SegmindUnknownOutcomeError,
)
from airflow_provider_segmind.exceptions.requests import (
    SegmindBatchError,
    SegmindContentBlockedError,
    SegmindDownloadError,
    SegmindEventError,
    SegmindForbiddenHostError,
    SegmindOutputError,
    SegmindRequestError,
    SegmindRequestExpiredError,
    SegmindRequestFailedError,
    SegmindStorageError,
    SegmindTimeoutError,
)
from airflow_provider_segmind.exceptions.responses import (
    SegmindAuthError,
    SegmindContentTypeError,
    SegmindGatewayError,
    SegmindInsufficientCreditsError,
    SegmindInvalidRequestError,
    SegmindMalformedResponseError,
    SegmindMissingOutputError,
    SegmindNotFoundError,
    SegmindPermissionError,
    SegmindRateLimitedError,
    SegmindResponseError,
    SegmindRetiredModelError,
    SegmindServerError,
    SegmindSpendLimitError,
    SegmindUnknownModelError,
    SegmindUnknownStatusError,
)

__all__ = [
    "SegmindAuthError",
    "SegmindBatchError",
    "SegmindConfigError",
    "SegmindConnectionError",
    "SegmindContentBlockedError",
    "SegmindContentTypeError",
    "SegmindDownloadError",
    "SegmindError",
    "SegmindEventError",
    "SegmindForbiddenHostError",
    "SegmindGatewayError",
    "SegmindInsufficientCreditsError",
    "SegmindInvalidRequestError",
    "SegmindMalformedResponseError",
    "SegmindMissingOutputError",
    "SegmindNotFoundError",
    "SegmindOutputError",
    "SegmindPermissionError",
    "SegmindRateLimitedError",
    "SegmindRequestError",
    "SegmindRequestExpiredError",
    "SegmindRequestFailedError",
    "SegmindResponseError",
    "SegmindRetiredModelError",
    "SegmindServerError",
    "SegmindSpendLimitError",
    "SegmindStorageError",
    "SegmindTimeoutError",
    "SegmindUnknownModelError",
    "SegmindUnknownOutcomeError",
    "SegmindUnknownStatusError",
]
