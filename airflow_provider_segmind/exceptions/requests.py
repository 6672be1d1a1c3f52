"""About one request that was accepted, its output, a batch of them, and the event that tells of it."""

from __future__ import annotations

from airflow_provider_segmind.exceptions.base import SegmindError


class SegmindRequestError(SegmindError):
    """About one request that Segmind accepted."""


class SegmindRequestExpiredError(SegmindRequestError):
    """The request id is unknown, or older than the hour for which Segmind keeps records (404)."""

    what = "Segmind does not know this request (any more)"
    advice = (
        "Records live for one hour: take the output from the request history or from storage; "
        'to submit again, and pay again, clear the task with on_lost_submit="resubmit".'
    )


class SegmindRequestFailedError(SegmindRequestError):
    """The request ran and FAILED (HTTP 422). Failed work is not charged."""

    what = "The request ran and failed"
    advice = "Failed work is not charged. Change the input or the parameters before trying again."


class SegmindContentBlockedError(SegmindRequestFailedError):
    """FAILED because the content is not allowed; the same picture will be blocked again."""

    what = "Segmind blocked the content"
    advice = "The same picture will be blocked again; it was not charged."


class SegmindTimeoutError(SegmindRequestError):
    """Not finished within our own deadline. The request goes on: Segmind has no cancel call."""

    what = "The request did not finish in time"
    advice = "It still runs and will be billed if it completes (there is no cancel call); consider a longer timeout."
    default_retryable = True


class SegmindOutputError(SegmindError):
    """The output is not what it should be: no image, truncated, too small or too large."""

    what = "The output cannot be stored"
    advice = (
        "The request was billed and its output is kept for a while: look at it by its request id. To request it again, "
        "and pay again, clear the task with durable=False; of a batch, remove its line from the manifest."
    )


class SegmindForbiddenHostError(SegmindOutputError):
    """An output's address leads where a worker must not read."""

    what = "The output's address is not allowed"
    advice = "If the host is yours, name it in the extra output_hosts of the connection."


class SegmindDownloadError(SegmindOutputError):
    """The download broke, however often it was tried."""

    what = "The output could not be downloaded"
    advice = "The output outlives the request's record: trying again soon may work."
    default_retryable = True


class SegmindStorageError(SegmindError):
    """The output is whole, but it could not be written where it should lie."""

    what = "The output could not be written to its destination"
    advice = "Check the destination and its connection; the output is kept by Segmind for a while."
    default_retryable = True


class SegmindEventError(SegmindError):
    """A trigger's event that this version cannot read (fail closed)."""

    what = "The trigger's event cannot be read"
    advice = "Triggerer and workers may run different versions of the provider; clear the task once they agree."


class SegmindBatchError(SegmindError):
    """More of a batch failed than ``max_failures`` allows; the manifest says which, and why."""

    what = "The batch has failed"
    advice = "See the manifest; another try, or a clear, does only what is missing."
    default_retryable = True
