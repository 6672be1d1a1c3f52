"""
Mutations of the rules about money, each of which the simulator has to catch: a check that cannot fail does not count.

Most put a fault back that the project had before: the number names its row in docs/reliability.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.execution import engine, manifest, record, recover, resolve, submit
from airflow_provider_segmind.execution.batch import BatchRun
from airflow_provider_segmind.execution.claim import Claims
from airflow_provider_segmind.execution.deliver import Deliverer
from airflow_provider_segmind.execution.engine import Engine
from airflow_provider_segmind.execution.manifest import BatchFolder, write_manifest
from airflow_provider_segmind.execution.record import RequestRecord, State
from airflow_provider_segmind.execution.recover import Recovery
from airflow_provider_segmind.execution.single import SingleRun
from airflow_provider_segmind.execution.store import TaskStateRecords
from airflow_provider_segmind.execution.submit import Submitter
from airflow_provider_segmind.protocol import history
from airflow_provider_segmind.protocol.history import Sought
from airflow_provider_segmind.protocol.identity import canonical_parameters
from tests.simulation import process

Mutation = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Mutant:
    """One wrong rule."""

    name: str
    mutation: Mutation
    #: A seed that finds it is tried first: others are only needed when the world has changed.
    found_by: int = 0

    def seeds(self, most: int) -> Iterator[int]:
        """Yield the seeds to try, the known one first."""
        yield self.found_by
        yield from range(most)


def _replaced(owner: Any, name: str, new: Any) -> Mutation:
    return lambda: patch.object(owner, name, new)


def _around(owner: Any, name: str, wrong: Callable[..., Any]) -> Mutation:
    """Replace a method by one that is given the right one first."""
    right = getattr(owner, name)
    return lambda: patch.object(owner, name, lambda *args, **kw: wrong(right, *args, **kw))


# --- intent and submit ----------------------------------------------------------------------------------------------


@contextmanager
def _no_intent() -> Iterator[None]:
    def put(self: TaskStateRecords, records: Any) -> None:
        right(self, [record for record in records if record.state is not State.INTENDED])

    right = TaskStateRecords.put
    with patch.object(TaskStateRecords, "put", put):
        yield


def _lost_is_refused(right: Any, self: Submitter, want: Any, response: str | SegmindError) -> None:
    right(self, want, response)
    if want.record.state is State.INTENDED and want.record.doubt == "lost":
        want.record.withdraw()


def _error_is_refused(right: Any, self: Submitter, want: Any, response: str | SegmindError) -> None:
    right(self, want, response)
    if want.record.doubt == "error":
        want.record.withdraw()


# --- the history ------------------------------------------------------------------------------------------------------


def _with(compare: Callable[[dict[str, Any], dict[str, Any]], bool]) -> Mutation:
    """Match rows by another rule than "exactly the same parameters"."""

    def assign(
        sought: Sequence[Sought], rows: Sequence[Any], *, model: str, taken: Any, refused: Any = ()
    ) -> list[list[Any]]:
        owned, found = set(taken), []
        for number, one in enumerate(sought):
            body = dict(canonical_parameters(one.body))
            fits = [
                row
                for row in sorted(rows, key=lambda row: history.created(row) or 0.0, reverse=True)
                if row.request_id not in owned
                and (number, row.request_id) not in refused
                and one.may_be(row)
                and compare(body, dict(canonical_parameters(row.parameters or {})))
            ]
            owned.update(row.request_id for row in fits[:1])
            found.append(fits)
        return found

    return _replaced(resolve, "assign", assign)


def _first_page(segmind: Any, since: float, *, all_models: bool) -> list[Any]:
    return list(segmind.history_page(since, 1, all_models=all_models).rows)


def _until_a_short_page(segmind: Any, since: float, *, all_models: bool) -> list[Any]:
    rows: dict[str, Any] = {}
    for number in range(1, 21):
        page = segmind.history_page(since, number, all_models=all_models)
        rows.update({row.request_id: row for row in page.rows})
        if len(page.rows) < 100:
            break
    return list(rows.values())


def _absence_without_dates(self: Sought) -> float | None:
    return None if self.intended_at is None else self.intended_at + (self.skew or 0.0) + history.ABSENCE_MARGIN


def _unresponded_is_absent(right: Any, segmind: Any, clock: Any, model: str, sought: Any, **kw: Any) -> Any:
    absent = resolve.Verdict(resolve.Outcome.NEVER_ACCEPTED)
    return [
        absent if verdict.outcome is resolve.Outcome.NO_RESPONSE else verdict
        for verdict in right(segmind, clock, model, sought, **kw)
    ]


def _not_shown_is_absent(right: Any, segmind: Any, clock: Any, model: str, sought: Any, **kw: Any) -> Any:
    absent = resolve.Verdict(resolve.Outcome.NEVER_ACCEPTED)
    return [
        absent if verdict.outcome is resolve.Outcome.NOT_SHOWN else verdict
        for verdict in right(segmind, clock, model, sought, **kw)
    ]


# --- records ----------------------------------------------------------------------------------------------------------


def _by_time(witnesses: Any) -> RequestRecord | None:
    known = [record for record in witnesses if record is not None]
    return max(known, key=lambda record: record.moment) if known else None


@contextmanager
def _later_wins() -> Iterator[None]:
    with patch.object(record, "newest", _by_time), patch.object(manifest, "newest", _by_time):
        yield


def _not_higher(right: Any, self: RequestRecord, owner: str, try_number: int) -> None:
    right(self, owner, 0)


def _closed_at_delivery(right: Any, self: SingleRun) -> Any:
    delivered = right(self)
    if delivered is not None:
        self.close()
    return delivered


def _lost_is_free(right: Any, self: RequestRecord) -> None:
    if self.state is State.FAILED and self.doubt is not None:
        self.withdraw()
    right(self)


def _paid_is_free(right: Any, self: RequestRecord) -> None:
    if self.state is State.FAILED:
        self.withdraw()
    right(self)


# --- what was submitted -----------------------------------------------------------------------------------------------


def _expired_is_resubmitted(self: Recovery, want: Any, why: str) -> None:
    want.record.withdraw()


def _first_refusal_is_final(self: Deliverer, want: Any, error: SegmindError) -> None:
    self._missing(want)


def _refused_for_ever(self: Deliverer, want: Any, error: SegmindError) -> None:
    error.retryable = False
    want.error = error


def _keeps_uploads(right: Any, self: RequestRecord, **kw: Any) -> None:
    right(self, **{**kw, "uploaded": True})


def _keeps_the_claim(self: BatchRun, event: Any) -> Any:
    with patch.object(Claims, "end", lambda self, **named: None):
        return _RUN(self, event)


_RUN = BatchRun.run


def _own_manifest_only(right: Any, self: BatchFolder, names: Any) -> Any:
    return right(self, ())


def _writes_over_others(self: BatchFolder, rows: Sequence[RequestRecord]) -> None:
    self._files.write(self._manifest, write_manifest(rows))


def _nobody_was_killed(right: Any, self: Claims, names: Any, now: float) -> None:
    return None


def _nothing_without_input(records: Any, prepared: Any, uri: str, model: str, gateway: str, why: SegmindError) -> Any:
    raise why


def _ignores_the_unreadable(right: Any, self: TaskStateRecords) -> Any:
    found = right(self)
    self.unreadable = False
    return found


def _any_mark_is_absence(self: Engine, wants: Sequence[Any]) -> None:
    for want in wants:
        if want.record.mark is not None and self._is_doubtful(want):
            want.record.withdraw()


def _needs_no_mark(right: Any, self: Submitter, group: Sequence[Any]) -> None:
    with patch.object(type(self._segmind), "take", lambda segmind, mark: True):
        right(self, group)


def _forgets_earlier(right: Any, self: RequestRecord) -> list[str]:
    return []


def _skew_of_nothing(right: Any, self: Any, **named: Any) -> None:
    right(self, **{**named, "skew": 0.0})


def _margin(seconds: float) -> Mutation:
    return _replaced(history, "ABSENCE_MARGIN", seconds)


MUTANTS = (
    Mutant("no intent is written before the POST", _no_intent),
    Mutant("a lost response counts as refused", _around(Submitter, "_responded", _lost_is_refused)),
    Mutant("14: a 5xx counts as refused", _around(Submitter, "_responded", _error_is_refused)),
    Mutant("a POST may leave long after its intent", _replaced(submit, "POST_WITHIN", 1e9)),
    Mutant(
        "3: a row with more parameters matches",
        _with(lambda body, there: all(there.get(name) == value for name, value in body.items())),
    ),
    Mutant("3: a row with fewer parameters matches", _with(lambda body, there: there.items() <= body.items())),
    Mutant("3: any row of the model matches", _with(lambda body, there: True)),
    Mutant("15: rows of teammates count", _replaced(resolve, "_is_ours", lambda *args: True)),
    Mutant("6: only the first page of the history is read", _replaced(resolve, "read_since", _first_page)),
    Mutant("6: a short page ends the history", _replaced(resolve, "read_since", _until_a_short_page)),
    Mutant("7: the clock of Segmind is taken for ours", _around(RequestRecord, "intend", _skew_of_nothing)),
    Mutant(
        "17: a row shows absence without a Date header",
        _replaced(Sought, "absent_from", property(_absence_without_dates)),
        found_by=631,
    ),
    Mutant("17: any row since the intent shows absence", _margin(-600.0)),
    Mutant(
        "a history that does not respond shows absence",
        _around(engine, "resolve", _unresponded_is_absent),
        found_by=2298,
    ),
    Mutant("a missing row shows absence", _around(engine, "resolve", _not_shown_is_absent)),
    Mutant("4: without a record the history is not searched", _replaced(Engine, "recall", lambda self, wants: None)),
    Mutant("12: the later time wins, not the counter", _later_wins),
    Mutant(
        "1: a delivered want is closed before Airflow reports it", _around(SingleRun, "_deliver", _closed_at_delivery)
    ),
    Mutant("1: a success does not close the want", _replaced(SingleRun, "close", lambda self: None)),
    Mutant("requests of earlier wants match", _around(RequestRecord, "_all_requests", _forgets_earlier)),
    Mutant("5: a lost submit of a batch is reset", _around(RequestRecord, "run_again", _lost_is_free)),
    Mutant("5: a paid request of a batch is reset", _around(RequestRecord, "run_again", _paid_is_free)),
    Mutant("2: an expired request is submitted again", _replaced(Recovery, "_expired", _expired_is_resubmitted)),
    Mutant("5: the first refusal of an output is final", _replaced(Deliverer, "_refused", _first_refusal_is_final)),
    Mutant("11: a refused output is a dead end", _replaced(Deliverer, "_refused", _refused_for_ever)),
    Mutant("11: an uploaded input is used for ever", _around(RequestRecord, "withdraw", _keeps_uploads)),
    Mutant("11: a URL of last week is delivered", _replaced(Deliverer, "check", lambda self, want, storage: None)),
    Mutant("13: a batch that ends badly keeps its claim", _replaced(BatchRun, "run", _keeps_the_claim)),
    Mutant("2: a pending request counts as lost", _replaced(recover, "PENDING_FOR", 0.0)),
    Mutant("9: only the task's own manifest is read", _around(BatchFolder, "read", _own_manifest_only)),
    Mutant(
        "a killed run is not searched for",
        _around(Claims, "killed_since", _nobody_was_killed),
        found_by=3543,
    ),
    Mutant(
        "a process that lost its claim writes the manifest",
        _replaced(BatchFolder, "write", _writes_over_others),
        found_by=5309,
    ),
    Mutant(
        "19: a record that cannot be read counts as missing",
        _around(TaskStateRecords, "read", _ignores_the_unreadable),
        found_by=1864,
    ),
    Mutant(
        "marks: a missing mark shows that nothing was sent",
        _replaced(Engine, "_resolve_by_marks", _any_mark_is_absence),
    ),
    Mutant("marks: a POST leaves without its mark", _around(Submitter, "_send", _needs_no_mark)),
    Mutant(
        "a paid request needs its input", _replaced(process, "submitted_before", _nothing_without_input), found_by=320
    ),
    Mutant("a try does not begin with a higher counter", _around(RequestRecord, "begin_try", _not_higher)),
    Mutant("nothing is kept between tries", _replaced(TaskStateRecords, "put", lambda self, records: None)),
)
