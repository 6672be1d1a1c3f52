"""Errors of an accepted request, its output and storage, a batch of requests, and a trigger's event."""

from __future__ import annotations

from airflow_provider_segmind.exceptions.base import SegmindError


class SegmindRequestError(SegmindError):
    """Base of the errors of one request that Segmind accepted."""


class SegmindRequestExpiredError(SegmindRequestError):
    """Segmind does not know the request id, or no longer keeps its record: it does so for one hour (404)."""

    what = "Segmind has no record of this request"
    advice = (
        "Segmind keeps records for one hour: take the output from the request history or from storage. "
        'To submit again, which is billed again, set on_lost_submit="resubmit" and clear the task.'
    )


class SegmindRequestFailedError(SegmindRequestError):
    """The request ran and FAILED (HTTP 422). A failed request is not billed."""

    what = "The request ran and failed"
    advice = "A failed request is not billed. Change the input or the parameters before the next try."


class SegmindContentBlockedError(SegmindRequestFailedError):
    """The request FAILED because its content is not allowed; the same image will be blocked again."""

    what = "Segmind blocked the content"
    advice = "The same image will be blocked again; use another one. The request was not billed."


class SegmindTimeoutError(SegmindRequestError):
    """The request did not finish before our deadline. It still runs: Segmind has no cancel call."""

    what = "The request did not finish in time"
    advice = (
        "It still runs and is billed if it completes (Segmind has no cancel call). Another try reattaches to it, "
        "unless durable=False. Allow a longer timeout."
    )
    default_retryable = True


class SegmindOutputError(SegmindError):
    """The output is not valid: not an image, truncated, too small or too large."""

    what = "The output cannot be stored"
    advice = (
        "The request was billed. Segmind keeps its output for a while, and a clear of the task takes it again: with a "
        "larger max_bytes, or with verify='off', if one of them refused it. To submit again, which is billed again, "
        "set durable=False and clear the task; in a batch, remove its line from the manifest."
    )


class SegmindImageMismatchError(SegmindOutputError):
    """The output is a whole image, but not the one that was submitted: it is kept in a ``.quarantine`` folder."""

    what = "The output is not the same image as its input"
    advice = (
        "The request was billed. Compare both images. To store this output, set verify='whole' and clear the task: it "
        "takes the same output and submits nothing, unless durable=False."
    )


class SegmindForbiddenHostError(SegmindOutputError):
    """A worker must not read from the output's address."""

    what = "The output's address is not allowed"
    advice = "If you trust the host, add it to the connection's extra output_hosts."


class SegmindDownloadError(SegmindOutputError):
    """The download failed at every attempt."""

    what = "The output could not be downloaded"
    advice = "Segmind keeps outputs longer than the request's record: a retry may succeed."
    default_retryable = True


class SegmindStorageError(SegmindError):
    """An input, an output or a folder could not be read or written in its storage."""

    what = "The storage could not be read or written"
    advice = "Check the path and its connection. Segmind keeps an output for a while, so a retry can still store it."
    default_retryable = True


class SegmindEventError(SegmindError):
    """This version cannot read a trigger's event; the task fails rather than guess its meaning."""

    what = "The trigger's event cannot be read"
    advice = "Install the same version of the provider on triggerer and workers, then clear the task."


class SegmindBatchError(SegmindError):
    """More requests of a batch failed than ``max_failures`` allows; the manifest names each with its reason."""

    what = "The batch has failed"
    advice = "The manifest names each failure. A retry, or a clear, runs only what is missing."
    default_retryable = True
