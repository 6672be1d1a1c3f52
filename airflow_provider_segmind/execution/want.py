"""A want in one process, and the rules that the author of a DAG sets for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from airflow_provider_segmind.exceptions import SegmindError, SegmindUnknownOutcomeError
from airflow_provider_segmind.execution.record import RequestRecord, State
from airflow_provider_segmind.protocol.history import Sought
from airflow_provider_segmind.protocol.redaction import redacted
from airflow_provider_segmind.protocol.wire import Result

_CHECK_HISTORY = (
    "Another try searches again. If this error stays, check the account's request history; if it is not listed, "
    'clear the task with on_lost_submit="resubmit". Submitting a request again that is running is billed twice.'
)
_TRY_LATER = "Nothing was submitted. Another try searches again; with durable=False a task submits without searching."


@dataclass(eq=False)
class Want:
    """
    One want in one process.

    :param body: the parameters as they are sent; without ``image`` if that is uploaded first.
    :param record: its request record.
    :param upload: the image to upload, if any.
    :param name: in a batch, the name of its object without extension.
    :param error: what went wrong in this run.
    :param result: the result with its inline output, which the record does not have.
    :param other: another owner's record of the same content, used if the own request fails.
    :param loaded: its record was read from the state store and the manifests.
    :param searched_at: when the history was last searched for a request without a record (epoch seconds).
    """

    body: Mapping[str, Any] = field(repr=False)
    record: RequestRecord
    upload: bytes | None = field(default=None, repr=False)
    name: str = ""
    error: SegmindError | None = None
    result: Result | None = field(default=None, repr=False)
    other: RequestRecord | None = None
    loaded: bool = False
    searched_at: float = 0.0

    def sent(self) -> dict[str, Any]:
        """Return the body with the URL of the uploaded input."""
        return dict(self.body) | ({"image": self.record.uploaded} if self.upload is not None else {})

    def unknown(
        self, model: str, cause: SegmindError | None = None, *, nothing_sent: bool = False
    ) -> SegmindUnknownOutcomeError:
        """
        Return the error for a submit whose outcome could not be resolved.

        :param model: the slug.
        :param cause: why the history did not respond; None if it does not show the submit.
        :param nothing_sent: this try has submitted nothing.
        """
        when = self.record.intended_at
        at = "" if when is None else f" at {datetime.fromtimestamp(when, UTC).isoformat(timespec='seconds')}"
        why = (
            f"the request history did not respond: {cause}" if cause else "the request history does not show the submit"
        )
        items = redacted(self.sent()).items() if not self.record.item else ()  # the manifest shows the items of a batch
        shown = ", ".join(f"{name}={str(value)[:80]}" for name, value in items)
        return SegmindUnknownOutcomeError(
            f"{model}{at}{f' with {shown}' if shown else ''}; {why}",
            next_step=_TRY_LATER if nothing_sent else _CHECK_HISTORY,
            retryable=True,
        )

    def guarded(self, act: Callable[[Want], None]) -> None:
        """Call ``act`` with this want; a SegmindError becomes its ``error``."""
        try:
            act(self)
        except SegmindError as error:
            self.error = error

    def sought(self, *, began: float, oldest: float) -> Sought:
        """
        Return what to search the history for.

        :param began: start of the task instance (epoch seconds): the search begins there if the record has no moment.
        :param oldest: a submit before this moment is not searched for, because its output has expired (epoch seconds).
        """
        record = self.record
        sent = record.sent if record.state is State.INTENDED else None
        unknown = sent is None and self.upload is not None  # the URL of the upload is not known
        intended_at = record.intended_at if record.state is State.INTENDED else None
        since = record.forgotten_since
        if since is None and intended_at is None:
            since = began
        return Sought(
            self.body if unknown else self.sent(),
            intended_at=intended_at,
            since=None if since is None else max(since, oldest),
            skew=record.skew if intended_at is not None else None,
            upload=self.upload if unknown else None,
            sent=sent,
        )


@dataclass(frozen=True)
class Rules:
    """
    What the author of a DAG decides, and which try this is.

    :param model: the slug.
    :param on_lost_submit: what to do about a submit that the history neither shows nor rules out.
    :param lost_submit_wait: seconds for which the history is searched for such a submit.
    :param ran_before: an earlier try of this task instance may have submitted.
    :param owner: the task instance, as text.
    :param try_number: of the task instance.
    :param began_at: no try of this task instance submitted before this moment (epoch seconds); None if unknown.
    """

    model: str
    on_lost_submit: Literal["fail", "resubmit"] = "fail"
    lost_submit_wait: float = 30.0
    ran_before: bool = False
    owner: str = ""
    try_number: int = 1
    began_at: float | None = None
