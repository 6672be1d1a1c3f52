"""
Every error of this package. ``protocol/status.py`` maps each HTTP status to its class.

::

    SegmindError
    ├── SegmindConfigError                    the connection or an argument is wrong; nothing was sent
    ├── SegmindConnectionError                no response; a submit was certainly not accepted
    ├── SegmindUnknownOutcomeError            a submit was sent and its response was lost: it may be billed
    ├── SegmindResponseError                  the gateway responded with an error
    │   ├── SegmindInvalidRequestError        400, 405, 406 about a parameter, 422 on a submit
    │   ├── SegmindContentTypeError           406 / 415 "Invalid content type"
    │   ├── SegmindAuthError                  401
    │   ├── SegmindPermissionError            403
    │   ├── SegmindUnknownModelError          404 on a submit
    │   ├── SegmindNotFoundError              404 on any other call
    │   ├── SegmindRetiredModelError          410
    │   ├── SegmindInsufficientCreditsError   402, 406
    │   │   └── SegmindSpendLimitError        406 about a spend limit
    │   ├── SegmindRateLimitedError           429; has the time of the reset
    │   ├── SegmindServerError                500
    │   ├── SegmindGatewayError               502, 503, 504 and any other 5xx
    │   └── SegmindMalformedResponseError     the response cannot be read as a response to the call
    │       ├── SegmindUnknownStatusError     a status that this version does not know
    │       └── SegmindMissingOutputError     COMPLETED without a usable output
    ├── SegmindRequestError                   about one accepted request
    │   ├── SegmindRequestExpiredError        unknown, or older than the hour for which Segmind keeps it
    │   ├── SegmindRequestFailedError         FAILED; not billed
    │   │   └── SegmindContentBlockedError    FAILED because of its content
    │   └── SegmindTimeoutError               not finished before our deadline
    ├── SegmindOutputError                    the output is not valid (not an image, too small, too large)
    │   ├── SegmindImageMismatchError         a whole image, but not the one that was submitted
    │   ├── SegmindForbiddenHostError         a worker must not read from the output's address
    │   └── SegmindDownloadError              the download failed at every attempt
    ├── SegmindStorageError                   a storage could not be read or written
    ├── SegmindBatchError                     more requests of a batch failed than allowed
    └── SegmindEventError                     this version cannot read a trigger's event

``retryable`` is True if the same call may succeed later.
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
    SegmindImageMismatchError,
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
    "SegmindImageMismatchError",
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
