"""The commands and their arguments, said once for argparse and for ``airflow``; importing this imports no Airflow."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from airflow_provider_segmind.cli.parameters import options
from airflow_provider_segmind.emulator import __main__ as emulator
from airflow_provider_segmind.protocol.models import MODELS

#: ``ArgumentParser.add_argument``, or what makes an ``Arg`` of Airflow's.
Add = Callable[..., Any]


class Command(NamedTuple):
    """
    One command.

    :param name: what is typed.
    :param help: what it does.
    :param arguments: adds its arguments.
    :param module: where its function of the same name is; imported when the command runs.
    :param usage: where argparse's own would be too long for an error.
    :param epilog: ends the command's help.
    :param asks: whether it asks Segmind, which imports Airflow: the log of that is made quiet before.
    """

    name: str
    help: str
    arguments: Callable[[Add], None]
    module: str
    usage: str | None = None
    epilog: str | None = None
    asks: bool = False


def named_value(text: str) -> tuple[str, Any]:
    """Read ``name=value``; a value that is JSON is what it says, any other is text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def seconds(text: str) -> float:
    """Read a positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def _connection(add: Add) -> None:
    add(
        "--conn-id",
        metavar="ID",
        help="Airflow connection (default: the key in SEGMIND_API_KEY, else the connection segmind_default)",
    )


def _timeout(add: Add) -> None:
    add("--timeout", type=seconds, default=600.0, metavar="SECONDS", help="how long to wait (default: %(default)g)")


def _models(add: Add) -> None:
    """It takes none."""


def _run(add: Add) -> None:
    add("model", metavar="MODEL", help=f"slug: {', '.join(MODELS)}, or any other")
    add("picture", metavar="PICTURE", nargs="?", help="a file, an http(s) URL, or a URI such as s3://bucket/cat.jpg")
    for slug, parameter in options().values():
        add(parameter.flag, **parameter.option(slug))
    add(
        "-p",
        "--parameter",
        action="append",
        default=[],
        type=named_value,
        metavar="NAME=VALUE",
        dest="parameters",
        help="any parameter of any model; the value as JSON, or text (several: repeat -p)",
    )
    add(
        "-o",
        "--output",
        metavar="FILE",
        help="where the result goes; its ending asks for that format (default: PICTURE-MODEL.ENDING, here)",
    )
    _timeout(add)
    _connection(add)


def _request(add: Add) -> None:
    add("request_id", metavar="ID", help="request id, as a task's log or XCom shows it")
    add("-o", "--output", metavar="FILE", help="wait for it, and put its output there")
    _timeout(add)
    _connection(add)


COMMANDS = (
    Command("credits", "Show the balance; costs nothing", _connection, "show", asks=True),
    Command("models", "Show the three upscalers with their parameters; needs no key", _models, "show"),
    Command(
        "run",
        "Run a model on a picture, wait, and store the result; is billed",
        _run,
        "run",
        usage="%(prog)s MODEL [PICTURE] [-o FILE] [--scale N and other parameters] [-p NAME=VALUE ...]",
        asks=True,
    ),
    Command("request", "Show where a request stands, and fetch its output", _request, "request", asks=True),
    Command(
        "emulator",
        "Start a stand-in for Segmind's gateway on this machine",
        emulator.add_arguments,
        "show",
        usage="%(prog)s [--port N] [options]",
        epilog=emulator.EPILOG,
    ),
)
