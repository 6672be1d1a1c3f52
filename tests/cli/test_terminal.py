"""A command that is called in this process restores everything that it changes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from pathlib import Path

from airflow_provider_segmind.cli import console
from tests.cli.terminal import call


def state():
    """Return what a command may change."""
    return {
        "directory": Path.cwd(),
        "environment": dict(os.environ),
        "handlers": [(handler, getattr(handler, "stream", None)) for handler in logging.getLogger().handlers],
        "levels": {name: logging.getLogger(name).level for name in list(logging.root.manager.loggerDict)},
        "outputs": (sys.stdout, sys.stderr),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "warnings": list(warnings.filters),
        "consoles": [id(vars(one)) for one in (console.OUT, console.ERR)],
    }


def spoil(typed):
    os.environ["SPOILT"] = typed[0]
    os.chdir("/")
    console.reduce_logs()
    logging.getLogger().addHandler(logging.NullHandler())
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    print("to stdout")
    console.report("to stderr", to=console.ERR)
    raise SystemExit(typed[0])


def test_what_a_command_changes_is_restored(tmp_path):
    logging.getLogger("airflow").setLevel(logging.INFO)
    before = state()
    done = call("spoilt", cwd=tmp_path, env={}, program=spoil)
    assert (done.code, done.out, done.err) == (1, "to stdout\n", "to stderr\nspoilt\n")
    after = state()
    new = {name: level for name, level in after["levels"].items() if name not in before["levels"]}
    assert set(new.values()) <= {logging.NOTSET}
    after["levels"] = {name: level for name, level in after["levels"].items() if name not in new}
    assert after == before


def test_an_uncaught_error_is_shown(tmp_path):
    def program(typed):
        raise RuntimeError("it broke")

    done = call(cwd=tmp_path, env={}, program=program)
    assert done.code == 1
    assert done.err.startswith("Traceback")


def test_airflows_log_goes_to_stdout_unless_a_command_reduces_it(tmp_path):
    def program(typed):
        logging.getLogger("airflow").warning("logged by Airflow")
        return 0

    done = call(cwd=tmp_path, env={}, program=program)
    assert "logged by Airflow" in done.out
