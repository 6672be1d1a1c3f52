"""A want at work, and what the author of a DAG decides about it."""

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

_ASK_A_PERSON = (
    "Another try searches again. If it stays, look into the account's request history; if it is not there, clear the "
    'task with on_lost_submit="resubmit". A second submit of one that runs is a second bill.'
)
_ASK_LATER = "Nothing was submitted now. Another try asks again; durable=False does without asking."


@dataclass(eq=False)
class Want:
    """
    One want at work.

    :param body: the parameters as they are sent; without ``image`` where that has to be uploaded first.
    :param record: what is known of it.
    :param upload: the image to upload, if any.
    :param name: the name of its object, without extension, in a batch.
    :param error: what went wrong with it in this run.
    :param result: the result with its inline output, which no record holds.
    :param other: another owner's record of the same content, for when this one comes to nothing.
    :param taken_up: True once the witnesses have been asked for its record.
    :param asked_at: when the history was searched for what no record holds (epoch seconds).
    """

    body: Mapping[str, Any] = field(repr=False)
    record: RequestRecord
    upload: bytes | None = field(default=None, repr=False)
    name: str = ""
    error: SegmindError | None = None
    result: Result | None = field(default=None, repr=False)
    other: RequestRecord | None = None
    taken_up: bool = False
    asked_at: float = 0.0

    def sent(self) -> dict[str, Any]:
        """Return the body with the address of its uploaded input."""
        return dict(self.body) | ({"image": self.record.uploaded} if self.upload is not None else {})

    def unknown(
        self, model: str, cause: SegmindError | None = None, *, nothing_sent: bool = False
    ) -> SegmindUnknownOutcomeError:
        """
        Return the error for a submit whose outcome could not be resolved.

        :param cause: why the history did not answer.
        :param nothing_sent: this try has submitted nothing.
        """
        when = self.record.intended_at
        at = "" if when is None else f" at {datetime.fromtimestamp(when, UTC).isoformat(timespec='seconds')}"
        why = f"the request history did not answer: {cause}" if cause else "the request history does not show it"
        items = redacted(self.sent()).items() if not self.record.item else ()  # a manifest shows its items
        shown = ", ".join(f"{name}={str(value)[:80]}" for name, value in items)
        return SegmindUnknownOutcomeError(
            f"{model}{at}{f' with {shown}' if shown else ''}; {why}",
            next_step=_ASK_LATER if nothing_sent else _ASK_A_PERSON,
            retryable=True,
        )

    def guarded(self, act: Callable[[Want], None]) -> None:
        """Do something for this want; what goes wrong becomes its ``error``."""
        try:
            act(self)
        except SegmindError as error:
            self.error = error

    def sought(self, *, began: float, oldest: float) -> Sought:
        """
        Return what to look for in the history: from the intent on, and from when no record may hold it.

        :param began: when the task instance began: from then on where nothing else is known (epoch seconds).
        :param oldest: what was submitted before is of no use any more (epoch seconds).
        """
        record = self.record
        sent = record.sent if record.state is State.INTENDED else None
        unknown = sent is None and self.upload is not None  # it may have been uploaded to another address
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
    What the author of a DAG decides.

    :param model: the slug.
    :param on_lost_submit: what to do with a submit that the history neither shows nor disproves.
    :param lost_submit_wait: seconds for which the history is searched for it.
    :param ran_before: an earlier try of this task instance may have submitted.
    :param owner: the task instance, as text.
    :param try_number: of the task instance.
    :param began_at: no try of this task instance submitted before (epoch seconds); None where that is not known.
    """

    model: str
    on_lost_submit: Literal["fail", "resubmit"] = "fail"
    lost_submit_wait: float = 30.0
    ran_before: bool = False
    owner: str = ""
    try_number: int = 1
    began_at: float | None = None
