"""The request history: every request of a key or its team, of any age and status.

The SDK documents the query and the fields of a row. The envelope of a page and the names of the timestamps
are the emulator's own choice, so clients must read them defensively.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .catalogue import RefusedError
from .jobs import COMPLETED, FAILED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .jobs import Job
    from .state import State

PENDING = "PENDING"
_SORTS = {
    "model_created": lambda row: row["model_created"],
    "model_name": lambda row: row["model_name"],
    "credits_deduction": lambda row: row["credits_deduction"],
}


def page(state: State, owner: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return one page of the rows that match the query."""
    number = _number(query, "page", 1, 1, 1_000_000)
    per_page = _number(query, "per_page", 20, 1, 100)
    per_page = min(per_page, state.settings.history_page or per_page)
    rows = _matching(state, owner, query)
    rows.sort(
        key=_SORTS[_choice(query, "sort_by", "model_created", tuple(_SORTS))],
        reverse=_choice(query, "sort_order", "desc", ("desc", "asc")) == "desc",
    )
    start = (number - 1) * per_page
    return {
        "data": rows[start : start + per_page],
        "page": number,
        "per_page": per_page,
        "total": len(rows),
        "total_pages": -(-len(rows) // per_page),
    }


def one(state: State, owner: str, request_id: str) -> dict[str, Any]:
    """Return the row of one of the owner's own requests, or refuse it with 404."""
    with state.lock:
        state.finish_due_jobs()
        job = state.jobs.get(request_id)
        if job is None or job.owner != owner or not _visible(state, job):
            raise RefusedError(404, "Request not found")
        return _row(state, job)


def _matching(state: State, owner: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
    now = datetime.fromtimestamp(state.clock.now(), UTC)
    first = _day(query, "from_date", now.date() - timedelta(days=7))
    last = _day(query, "to_date", now.date())
    if not timedelta(0) <= last - first <= timedelta(days=31):
        raise RefusedError(400, "The window may span at most 31 days")
    status = _choice(query, "status", "", ("", COMPLETED, FAILED, PENDING))
    name = query.get("model_name", "")
    with state.lock:
        state.finish_due_jobs()
        return [
            row
            for job in state.jobs.values()
            if (state.settings.team or job.owner == owner)
            and _visible(state, job)
            and name in job.model.slug
            and first <= datetime.fromtimestamp(job.submitted_at, UTC).date() <= last
            and status in ("", (row := _row(state, job))["model_status"])
            for _ in range(state.settings.history_rows if row["model_status"] == COMPLETED else 1)
        ]


def _visible(state: State, job: Job) -> bool:
    return state.clock.now() >= job.submitted_at + state.settings.history_delay


def _row(state: State, job: Job) -> dict[str, Any]:
    status = job.status(state.clock.now())
    if status == COMPLETED and state.settings.history_pending:
        status = PENDING
    over = status in (COMPLETED, FAILED)
    has_file = status == COMPLETED and not job.work.result().content_type.startswith("text/")
    host = "" if state.settings.history_relative else state.base_url
    return {
        "request_id": job.request_id,
        "model_name": job.model.slug,
        "model_status": status if over else PENDING,
        "credits_deduction": job.model.cost if job.billed and over else 0.0,
        "request_body": job.parameters,
        "generation_url": f"{host}/outputs/{job.file_name()}" if has_file else None,
        "latency_ms": round((job.ends_at - job.submitted_at) * 1000) if over else None,
        "model_created": _stamp(job.submitted_at),
        "model_updated": _stamp(job.ends_at if over else job.submitted_at),
        "error": job.error() if status == FAILED else None,
    }


def _stamp(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(query: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    text = query.get(name, str(default))
    if not text.isdecimal() or not least <= int(text) <= most:
        raise RefusedError(400, f"{name} must be a number between {least} and {most}")
    return int(text)


def _choice(query: Mapping[str, str], name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = query.get(name, default)
    if value not in allowed:
        raise RefusedError(400, f"{name} must be one of {', '.join(filter(None, allowed))}")
    return value


def _day(query: Mapping[str, str], name: str, default: date) -> date:
    try:
        return date.fromisoformat(query[name]) if name in query else default
    except ValueError:
        raise RefusedError(400, f"{name} must be a date as YYYY-MM-DD") from None
