"""What all commands need: two consoles, the hook, and how an error is said."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError, SegmindUnknownOutcomeError

if TYPE_CHECKING:
    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.wire import Metrics

#: Columns of a table that goes into a pipe or a file.
_PIPED_WIDTH = 160


def _console(*, stderr: bool) -> Console:
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, width=None if terminal else _PIPED_WIDTH, markup=False, highlight=False, emoji=False)


#: Results; then what happens, and errors.
OUT, ERR = _console(stderr=False), _console(stderr=True)


def report(text: str, *, to: Console = OUT, style: str | None = None) -> None:
    """Print a line as it is, without wrapping it; what a terminal would take for a command is replaced."""
    to.print("".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text), style=style, soft_wrap=True)


def complain(error: SegmindError) -> None:
    """Say an error and the next step."""
    if isinstance(error, SegmindConfigError) and error.next_step == SegmindConfigError.advice:
        error.next_step = "Nothing was sent and nothing is billed."  # there is no task to clear here
    if isinstance(error, SegmindUnknownOutcomeError):
        error.next_step = "Check your account's request history before you run this again: that is a second bill."
    report(f"{type(error).__name__}: {error}", to=ERR, style="red")


def hook_for(conn_id: str | None) -> SegmindHook:
    """
    Return the hook of a connection, or of the environment's key; that needs no database of Airflow's.

    :param conn_id: a connection; default: the key in ``SEGMIND_API_KEY``, else the connection ``segmind_default``.
    :raises SegmindConfigError: there is neither.
    """
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
        reported = f"there is no Airflow connection {wanted!r}"
        raise SegmindConfigError(
            reported if conn_id else f"{ENVIRONMENT_KEY} is not set, and {reported}",
            next_step=f"Set {ENVIRONMENT_KEY}, or name a connection that is there: --conn-id ID.",
        ) from error
    return SegmindHook(wanted)


def quiet_logs() -> None:
    """Leave of the log, which Airflow sends to stdout, only what is worth a line, and send that to stderr."""
    for name in ("airflow", "airflow_provider_segmind", "alembic", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)
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
    """Leave the message: without a database, Airflow 2 logs a page of it, and the command says what to do."""
    record.exc_info = record.exc_text = None
    return True


def whose(hook: SegmindHook) -> str:
    """Say where a hook's calls go, and with which key."""
    key = f"connection {hook.segmind_conn_id}" if hook.segmind_conn_id else "SEGMIND_API_KEY"
    return f"{hook.settings.gateway} (key: {key})"


def bill(metrics: Metrics) -> str:
    """Say what a request cost and how long it took."""
    facts = [
        ("cost", metrics.cost, "credits"),
        ("left", metrics.remaining_credits, "credits"),
        ("in all", metrics.total_time, "s"),
        ("queued", metrics.queue_time, "s"),
        ("running", metrics.inference_time, "s"),
    ]
    reported = [f"{name} {value:.10g} {unit}" for name, value, unit in facts if value is not None]
    return ", ".join(reported) or "Segmind says neither cost nor times"
