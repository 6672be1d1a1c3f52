"""
What an author decides about a task, as frozen dataclasses: each argument's meaning, default and check stand here, once.

Operators list the arguments in their signatures, with the defaults of these classes, and keep them as attributes:
Airflow renders templates and maps there. ``WaitOptions.of(operator)`` reads them back, validated. What several options
mean together is validated in :mod:`.arguments`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, Self, get_args

from airflow_provider_segmind.exceptions import SegmindConfigError
from airflow_provider_segmind.storage.limits import MAX_BYTES, MAX_INPUT_BYTES, KeepMetadata, Verify
from airflow_provider_segmind.storage.names import check_placeholders, placeholders

IfExists = Literal["overwrite", "skip", "fail"]
OnLostSubmit = Literal["fail", "resubmit"]
#: How an image from storage is sent to Segmind.
InputTransport = Literal["auto", "data", "upload", "presign"]


class _NotGiven:
    """Stands for an argument that was left out, where an explicit None means something else."""

    def __repr__(self) -> str:
        return "NOT_GIVEN"

    def __bool__(self) -> bool:
        return False


#: The default of an argument of which "left out" and "given as None" differ.
NOT_GIVEN: Final[Any] = _NotGiven()


def is_final(value: Any) -> bool:
    """Return whether an argument is a literal: not a template, and not an XComArg, which exists only at run time."""
    if isinstance(value, str):
        return not any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, Mapping):
        return all(is_final(item) for item in value.values())
    if isinstance(value, list | tuple | set):
        return all(is_final(item) for item in value)
    return value is None or isinstance(value, bool | int | float | bytes)


@dataclass(frozen=True)
class Number:
    """
    A finite number.

    :param positive: it must be above 0; else it may be 0.
    :param whole: it counts something.
    """

    positive: bool = True
    whole: bool = False

    def validate(self, name: str, value: Any) -> None:
        """Raise SegmindConfigError for anything else."""
        right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if right and not (self.whole and not isinstance(value, int)) and (value > 0 if self.positive else value >= 0):
            return
        kind, least = "a whole number" if self.whole else "a number", "above 0" if self.positive else "of 0 or more"
        raise SegmindConfigError(f"{name} must be {kind} {least}, not {value!r}")


@dataclass(frozen=True)
class OneOf:
    """One of several allowed values."""

    choices: tuple[str, ...]

    def validate(self, name: str, value: Any) -> None:
        """Raise SegmindConfigError for another one."""
        if value not in self.choices:
            raise SegmindConfigError(f"{name} must be one of {', '.join(self.choices)}, not {value!r}")


class Uri:
    """A URI, or a template that becomes one."""

    def validate(self, name: str, value: Any) -> None:
        """Raise SegmindConfigError for a literal that is not one."""
        if is_final(value) and not (isinstance(value, str) and "://" in value):
            local = f"; a local path is file://{value}" if str(value).startswith("/") else ""
            raise SegmindConfigError(f"{name}: {value!r:.200} is not a URI such as s3://bucket/folder/{local}")


class Flag:
    """True or False."""

    def validate(self, name: str, value: Any) -> None:
        """Raise SegmindConfigError for anything else: a text such as "False" would count as True."""
        if not isinstance(value, bool):
            raise SegmindConfigError(f"{name} must be True or False, not {value!r:.100}")


def _checked(check: Number | OneOf | Uri | Flag) -> dict[str, Any]:
    return {"check": check}


_POSITIVE, _NOT_NEGATIVE = _checked(Number()), _checked(Number(positive=False))
_POSITIVE_COUNT, _COUNT = _checked(Number(whole=True)), _checked(Number(positive=False, whole=True))
_URI, _FLAG = _checked(Uri()), _checked(Flag())


class Options:
    """Options are validated when they are made. None is valid where it is the default."""

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]
            value, check = getattr(self, one.name), one.metadata.get("check")
            if check is not None and not (value is None and one.default is None):
                check.validate(one.name, value)

    @classmethod
    def of(cls, operator: Any) -> Self:
        """
        Return the options that an operator holds as attributes; those that it does not have keep their defaults.

        :raises SegmindConfigError: naming the argument that is wrong.
        """
        names = [one.name for one in fields(cls) if hasattr(operator, one.name)]  # type: ignore[arg-type]
        return cls(**{name: getattr(operator, name) for name in names})


@contextmanager
def naming(task_id: str) -> Iterator[None]:
    """Let an error of an argument name the task, which matters in a DAG file that makes many."""
    try:
        yield
    except SegmindConfigError as error:
        error.detail = f"task {task_id}: {error.detail}"
        raise


def assign(operator: Any, arguments: Mapping[str, Any]) -> None:
    """
    Keep the arguments of an operator's constructor as attributes of their names.

    :param arguments: the constructor's ``locals()``.
    """
    for name, value in arguments.items():
        if name not in ("self", "kwargs", "__class__"):
            setattr(operator, name, value)


@dataclass(frozen=True)
class WaitOptions(Options):
    """
    How a task waits for its request.

    :param deferrable: wait in the triggerer (default: ``[operators] default_deferrable``), else in the worker.
    :param wait_for_completion: False to return the request id right after the submit (default True).
    :param poll_interval: seconds between two polls; default: by what is known of the model: first
        ``expected_duration`` or the time that its page states, then what its completed requests took.
    :param expected_duration: seconds that a request is expected to take (default: what the model's page states, if
        anything). Polling begins there; it is not a limit.
    :param timeout: seconds for the whole run, from the start of the task (default 600, the vendor's advice); in a batch
        for each request, from its submit.
    :param queue_timeout: seconds that the request may be QUEUED, from its submit (default: as long as ``timeout``).
    :param defer_after: with ``deferrable``, first wait up to this many seconds in the worker: it saves the deferral
        where requests finish at once (default 0: defer right away).
    :param end_from_trigger: with ``deferrable`` and without a destination, let the triggerer end the task once the
        request is COMPLETED, with the result as its XCom: no second worker start (default False; before Airflow 3.3
        with ``do_xcom_push=False`` only). Airflow then skips what a worker does after ``execute``: ``post_execute``,
        listeners, OpenLineage, asset events (``outlets`` are refused) and the link to the output;
        ``on_success_callback`` runs in the DAG processor. Any other event resumes the task, so retries, callbacks and
        the ledger work as usual. The request record is not closed: a clear after the success returns the same result
        again, for as long as Segmind keeps the output (7 days).
    """

    deferrable: bool = field(default=False, metadata=_FLAG)
    wait_for_completion: bool = field(default=True, metadata=_FLAG)
    poll_interval: float | None = field(default=None, metadata=_POSITIVE)
    expected_duration: float | None = field(default=None, metadata=_POSITIVE)
    timeout: float = field(default=600.0, metadata=_POSITIVE)
    queue_timeout: float | None = field(default=None, metadata=_POSITIVE)
    defer_after: float = field(default=0.0, metadata=_NOT_NEGATIVE)
    end_from_trigger: bool = field(default=False, metadata=_FLAG)


@dataclass(frozen=True)
class SubmitOptions(Options):
    """
    When a task submits, and what it does where it cannot know whether it did.

    :param durable: keep a request record in Airflow's task state store, for 8 days after its latest write, so that a
        retry, a clear or a killed process reattaches instead of paying again (default True). If no record exists
        (before Airflow 3.3, or the store was cleaned), a try after the first searches the request history before it
        submits. False: each try submits.
    :param on_lost_submit: what to do where the response to a submit was lost, and the request history neither shows the
        request nor, by a later one, that it was never accepted: ``fail`` (default: with a retryable error; the next try
        searches again) or ``resubmit``, which is a second bill if the history is late. It also decides about a
        request whose record has expired and whose output the history does not show, or which the history lists as
        pending for more than a day. In a batch it decides about each item by itself.
    :param lost_submit_wait: seconds for which each try searches the history (default 30): rows can appear late.
    :param min_remaining_credits: submit nothing while the balance is below this (credits); default: the connection's,
        if it is set.
    """

    durable: bool = field(default=True, metadata=_FLAG)
    on_lost_submit: OnLostSubmit = field(default="fail", metadata=_checked(OneOf(get_args(OnLostSubmit))))
    lost_submit_wait: float = field(default=30.0, metadata=_NOT_NEGATIVE)
    min_remaining_credits: float | None = field(default=None, metadata=_NOT_NEGATIVE)


@dataclass(frozen=True)
class StorageOptions(Options):
    """
    Where the output is stored, and how.

    :param destination: URI of an object or a folder (ends with ``/``) in any storage that ``ObjectStoragePath``
        knows: ``file://``, ``s3://``, ``gs://``; default: nothing is stored. A mapped task that is given None is
        refused: leave the argument out. (templated) After rendering, ``{model}``, ``{stem}`` (the input's name without
        extension), ``{request_id}``, ``{map_index}`` and ``{ext}`` (the extension of the output, without a dot) are
        filled in. In a folder the object is named by task id and map index; see ``skip_existing``. Two mapped tasks
        with the same target: the second one fails before it submits.
    :param destination_conn_id: Airflow connection of that storage. (templated)
    :param max_bytes: refuse to store a larger output (bytes; default 2 GiB).
    :param verify: what the output has to be before it is stored (docs/how-to/verify.md): ``whole``, a whole image, and
        with an input in storage or in the arguments at least its pixels times the scale; ``same``, also the same image
        as its input: another image goes to ``.quarantine/`` beside the destination, and the task fails with the score;
        ``off``, anything: what is wrong is logged. Default: ``same`` for the upscalers where the input is in storage or
        in the arguments, else ``whole``. With ``same`` an input that is a URL is downloaded.
    :param keep_metadata: which metadata of its input an upscaler's stored object keeps: ``icc`` (default), the colour
        profile; ``all``, also EXIF with GPS, XMP, IPTC and texts; ``none``. Pixels do not change. An input that is a
        URL is downloaded for ``all`` and for ``verify="same"`` only; otherwise none of its metadata is kept.
    :param if_exists: what to do with an object that exists before a submit: ``overwrite`` (default), ``fail``
        (before anything is billed; and again right before it would be replaced), or ``skip``. ``fail`` and ``skip``
        consider every extension that the output may have.
    :param skip_existing: the same as ``if_exists="skip"``: where the object and its sidecar exist, made from the same
        input with the same parameters, return what the sidecar states, with ``skipped: true`` and a cost of 0; nothing
        is submitted. Anything else is made, and overwritten. Writes sidecars. An ``image`` is the same if its URL
        (without its signature) is, an ``input_path`` if its content is. In a folder the object is named
        ``<stem>-<first 8 characters of the key>``, by input and parameters instead of by map index: one more image in a
        listing shifts no names. (default False)
    :param sidecar: write ``<object>.json`` beside the object: model, parameters, request id, cost, SHA-256 of input and
        output, times (default False). Never the key; a hash for an image, no query of a URL.
    """

    destination: str | None = field(default=None, metadata=_URI)
    destination_conn_id: str | None = None
    max_bytes: int = field(default=MAX_BYTES, metadata=_POSITIVE_COUNT)
    verify: Verify | None = field(default=None, metadata=_checked(OneOf(get_args(Verify))))
    keep_metadata: KeepMetadata = field(default="icc", metadata=_checked(OneOf(get_args(KeepMetadata))))
    if_exists: IfExists = field(default="overwrite", metadata=_checked(OneOf(get_args(IfExists))))
    skip_existing: bool = field(default=False, metadata=_FLAG)
    sidecar: bool = field(default=False, metadata=_FLAG)

    def validate_rendered(self) -> None:
        """Raise SegmindConfigError for a destination whose template rendered to nothing."""
        if self.destination is None:
            raise SegmindConfigError("destination: a template rendered to nothing")

    def validate_placeholders(self) -> None:
        """Raise SegmindConfigError for a placeholder that is not known, or that skipped objects cannot have."""
        destination = str(self.destination)
        check_placeholders(destination)
        if self.on_existing == "skip" and "request_id" in placeholders(destination):
            raise SegmindConfigError(
                "skip_existing: a destination with {request_id} has a new name for each request, so nothing is ever "
                "skipped; remove {request_id}"
            )

    @property
    def on_existing(self) -> IfExists:
        """What to do with an object that exists."""
        return "skip" if self.skip_existing else self.if_exists

    @property
    def given_without_destination(self) -> list[str]:
        """The names of the arguments that were given and have no effect without a destination."""
        names = ("sidecar", "skip_existing", "if_exists", "verify", "keep_metadata")
        return [one.name for one in fields(self) if one.name in names and getattr(self, one.name) != one.default]

    @property
    def needing_input(self) -> list[str]:
        """The arguments that need the content of the input, even if that is a URL and has to be downloaded."""
        given = {"verify": self.verify == "same", "keep_metadata": self.keep_metadata == "all"}
        return [name for name, is_given in given.items() if is_given]

    @property
    def keeps_sidecar(self) -> bool:
        """True if a sidecar is written."""
        return self.sidecar or self.on_existing == "skip"


@dataclass(frozen=True)
class InputOptions(Options):
    """
    Where the input image comes from: give either ``image`` or ``input_path``.

    :param image: http(s) URL of the image; if the model's page accepts base64 (Nomos), also a data URI or base64. Never
        read as a local file, so that a value that a user of the DAG may set cannot make a worker send one of its files.
        (templated)
    :param input_path: URI of the image in any storage that ``ObjectStoragePath`` knows; it is read when the task runs.
        (templated)
    :param input_conn_id: Airflow connection of that storage. (templated)
    :param input_transport: how an image from storage is sent to Segmind: ``upload`` (through its upload call; the
        URL is kept in the ledger, so that a retry does not upload again), ``data`` (inside the request, as a data URI;
        only for models whose page accepts base64), ``presign`` (a presigned URL, where the store can sign: Segmind
        reads the bucket itself; the URL outlives the request and works for everybody who has it), or ``auto`` (default:
        ``data`` up to 1 MiB where the page accepts base64, else ``upload``).
    :param max_input_bytes: refuse a larger image (bytes; default 64 MiB).
    """

    image: str | None = None
    input_path: str | None = field(default=None, metadata=_URI)
    input_conn_id: str | None = None
    input_transport: InputTransport = field(default="auto", metadata=_checked(OneOf(get_args(InputTransport))))
    max_input_bytes: int = field(default=MAX_INPUT_BYTES, metadata=_POSITIVE_COUNT)


@dataclass(frozen=True)
class BatchOptions(Options):
    """
    How many requests a batch submits, and how many may fail.

    :param requests_per_minute: submit at most this many in any minute (default: no limit of ours; Segmind's rate limit
        is then met, and waited for).
    :param max_in_flight: requests that may be submitted and not yet finished (default 100).
    :param max_failures: how many images may fail before the task fails (default 0). The manifest names them.
    """

    requests_per_minute: int | None = field(default=None, metadata=_POSITIVE_COUNT)
    max_in_flight: int = field(default=100, metadata=_POSITIVE_COUNT)
    max_failures: int = field(default=0, metadata=_COUNT)
