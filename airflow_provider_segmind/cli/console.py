"""What all commands need: two consoles, the hook, and the text of errors."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console

from airflow_provider_segmind.exceptions import (
    SegmindAuthError,
    SegmindConfigError,
    SegmindError,
    SegmindUnknownOutcomeError,
)

if TYPE_CHECKING:
    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.wire import Metrics

#: Columns of a table that goes into a pipe or a file.
_PIPED_WIDTH = 160


def _console(*, stderr: bool) -> Console:
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, width=None if terminal else _PIPED_WIDTH, markup=False, highlight=False, emoji=False)


#: OUT is for results, ERR for progress and errors.
OUT, ERR = _console(stderr=False), _console(stderr=True)


def report(text: str, *, to: Console = OUT, style: str | None = None) -> None:
    """Print a line without wrapping it; characters that control a terminal are replaced."""
    to.print("".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text), style=style, soft_wrap=True)


def report_json(value: Any) -> None:
    """Print a value as JSON on stdout."""
    report(json.dumps(value, indent=2))


def report_error(error: SegmindError) -> None:
    """Print an error and the next step."""
    if isinstance(error, SegmindConfigError) and error.next_step == SegmindConfigError.advice:
        error.next_step = "Nothing was sent and nothing is billed."  # the default names a task to clear
    if isinstance(error, SegmindUnknownOutcomeError):
        error.next_step = (
            "Check your account's request history before you run this again: a second run is billed again."
        )
    report(f"{type(error).__name__}: {error}", to=ERR, style="red")


@contextmanager
def open_hook(conn_id: str | None) -> Iterator[SegmindHook]:
    """
    Open the hook of a connection, or of the key in the environment, which needs no database of Airflow's.

    :param conn_id: a connection; default: the key in ``SEGMIND_API_KEY``, else the connection ``segmind_default``.
    :raises SegmindConfigError: there is neither.
    """
    with _hook_for(conn_id) as hook:
        try:
            yield hook
        except SegmindAuthError as error:
            error.next_step = f"Put a valid key into {_key_source(hook)}; Segmind will refuse this one again."
            raise


def _hook_for(conn_id: str | None) -> SegmindHook:
    from airflow_provider_segmind.hooks.segmind import ENVIRONMENT_KEY, SegmindHook

    if conn_id is None and os.environ.get(ENVIRONMENT_KEY):
        return SegmindHook(None)
    from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

    # As Airflow's own commands do: connections of the database are found in a "server" process only.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    wanted = conn_id or SegmindHook.default_conn_name
    try:
        BaseHook.get_connection(wanted)
    except AirflowNotFoundException as error:
        reported = f"the Airflow connection {wanted!r} does not exist"
        raise SegmindConfigError(
            reported if conn_id else f"{ENVIRONMENT_KEY} is not set, and {reported}",
            next_step=f"Set {ENVIRONMENT_KEY}, or name an existing connection: --conn-id ID.",
        ) from error
    return SegmindHook(wanted)


def _key_source(hook: SegmindHook) -> str:
    from airflow_provider_segmind.hooks.segmind import ENVIRONMENT_KEY

    if hook.segmind_conn_id is None:
        return f"the environment variable {ENVIRONMENT_KEY}"
    return f"the password of the connection {hook.segmind_conn_id}"


def reduce_logs() -> None:
    """Keep warnings and errors of the log, which Airflow writes to stdout, and write them to stderr."""
    for name in ("airflow", "airflow_provider_segmind", "alembic", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # The command reports the error of a submit itself, with a next step that fits the terminal.
    logging.getLogger("airflow_provider_segmind.execution.submit").setLevel(logging.CRITICAL)
    import airflow  # noqa: F401  # sets up its logging

    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            brief = logging.StreamHandler(sys.stderr)  # Airflow 2 has a handler that takes no other stream
            brief.setFormatter(handler.formatter)
            brief.setLevel(handler.level)
            brief.filters = [*handler.filters, _without_traceback]  # Airflow 2 masks secrets in a filter
            root.removeHandler(handler)
            root.addHandler(brief)


def _without_traceback(record: logging.LogRecord) -> bool:
    """Keep the message only: without a database Airflow 2 logs a long traceback; the command reports what to do."""
    record.exc_info = record.exc_text = None
    return True


def account_of(hook: SegmindHook) -> str:
    """Return the gateway that a hook calls, and where its key comes from."""
    key = f"connection {hook.segmind_conn_id}" if hook.segmind_conn_id else "SEGMIND_API_KEY"
    return f"{hook.settings.gateway} (key: {key})"


def bill(metrics: Metrics) -> str:
    """Return as text what a request cost and how long it took."""
    facts = [
        ("cost", metrics.cost, "USD"),
        ("balance", metrics.remaining_credits, "credits"),
        ("total", metrics.total_time, "s"),
        ("queued", metrics.queue_time, "s"),
        ("running", metrics.inference_time, "s"),
    ]
    reported = [f"{name} {value:.10g} {unit}" for name, value, unit in facts if value is not None]
    return ", ".join(reported) or "Segmind reports neither cost nor times"
