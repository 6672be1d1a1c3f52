"""
The commands and their arguments, declared once for argparse and for ``airflow``. Importing this imports no Airflow.

``airflow`` takes argparse's own arguments, so the declarations are argparse's: another library would need a second one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, get_args

from airflow_provider_segmind.cli.parameters import options
from airflow_provider_segmind.emulator import __main__ as emulator
from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.storage.limits import KeepMetadata, Verify

#: ``ArgumentParser.add_argument``, or a function that makes an ``Arg`` of Airflow's.
Add = Callable[..., Any]

#: Seconds; a larger number is a mistake.
_MAX_SECONDS = 1e6


class Command(NamedTuple):
    """
    One command.

    :param name: what the user types.
    :param help: one line for the list of commands.
    :param description: what the command does, costs and returns.
    :param arguments: adds its arguments.
    :param module: the module that has its function of the same name; imported when the command runs.
    :param usage: replaces argparse's own, which is too long for an error message.
    :param epilog: ends the command's help.
    :param calls_segmind: whether it calls Segmind, which imports Airflow: Airflow's log is reduced first.
    """

    name: str
    help: str
    description: str
    arguments: Callable[[Add], None]
    module: str
    usage: str | None = None
    epilog: str | None = None
    calls_segmind: bool = False


def named_value(text: str) -> tuple[str, Any]:
    """Return the name and the value of ``name=value``; a value that is valid JSON is parsed, any other is text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not name=value")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def seconds(text: str) -> float:
    """Return a positive number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < _MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds between 0 and {_MAX_SECONDS:.0f}")
    return value


def _json(add: Add) -> None:
    add("--json", action="store_true", help="print JSON on stdout instead of text")


def _connection(add: Add) -> None:
    add(
        "--conn-id",
        metavar="ID",
        help="Airflow connection (default: the key in SEGMIND_API_KEY, else the connection segmind_default)",
    )


def _timeout(add: Add) -> None:
    add(
        "--timeout",
        type=seconds,
        default=600.0,
        metavar="SECONDS",
        help="stop waiting after this many seconds; the request continues at Segmind (default: %(default)g)",
    )


def _verification(add: Add, *, of_input: bool) -> None:
    """Add how the output is verified; ``of_input``: the command has the input, too."""
    levels = get_args(Verify) if of_input else [level for level in get_args(Verify) if level != "same"]
    add(
        "--verify",
        choices=levels,
        help="store an output only if it is a whole image (whole)"
        + (", and the same image as its input (same; default for an upscaler and a file)" if of_input else " (default)")
        + "; off: store it in any case",
    )
    if of_input:
        add(
            "--keep-metadata",
            choices=get_args(KeepMetadata),
            default="icc",
            help="metadata of IMAGE that the output keeps: its colour profile (icc, default), also EXIF, GPS and XMP "
            "(all), or none",
        )


def _credits(add: Add) -> None:
    _connection(add)
    _json(add)


def _run(add: Add, *, model: str | None) -> None:
    add("model", metavar="MODEL", help=f"slug of the model: {', '.join(MODELS)}, or any other")
    add("image", metavar="IMAGE", nargs="?", help="a file, an http(s) URL, or a URI such as s3://bucket/cat.jpg")
    for slug, parameter in options().values():
        add(parameter.flag, **parameter.option(slug, model))
    add(
        "-p",
        "--parameter",
        action="append",
        default=[],
        type=named_value,
        metavar="NAME=VALUE",
        dest="parameters",
        help="any parameter of any model; VALUE is JSON or text; repeat -p for several",
    )
    add(
        "-o",
        "--output",
        metavar="FILE",
        help="file, folder (ends with /) or URI for the output; its extension selects the format "
        "(default: IMAGE-MODEL.EXTENSION in the current folder)",
    )
    _verification(add, of_input=True)
    add("--overwrite-input", action="store_true", help="let the output replace IMAGE, if -o is IMAGE itself")
    _timeout(add)
    _connection(add)
    _json(add)


def _request(add: Add) -> None:
    add("request_id", metavar="ID", help="request id, as a task's log or XCom shows it")
    add("-o", "--output", metavar="FILE", help="wait for the request, and store its output in this file, folder or URI")
    _verification(add, of_input=False)
    _timeout(add)
    _connection(add)
    _json(add)


def model_in(arguments: Sequence[str]) -> str | None:
    """Return the model that a command line names, for the help of ``run``; None if it names none of the table."""
    return next((argument for argument in arguments if argument in MODELS), None)


_CREDITS = Command(
    "credits",
    "Show the credit balance; free",
    "Show the credit balance of the key's account, on one line. The call is free.",
    _credits,
    "show",
    calls_segmind=True,
)
_MODELS = Command(
    "models",
    "List the upscalers and their parameters; free, needs no key",
    "List the upscalers with their parameters: type, default and allowed values. Needs no key and no network.",
    _json,
    "show",
)
_RUN = Command(
    "run",
    "Run a model on an image, wait, and store the output; billed",
    "Submit a request for one image, wait until it completes, and store its output. Each run is a new "
    "request, and Segmind bills it when it completes; a failed request is free. Parameters, image and "
    "destination are checked before anything is sent. Prints the stored file and the cost.",
    partial(_run, model=None),
    "run",
    usage="%(prog)s MODEL [IMAGE] [-o FILE] [options of the model] [-p NAME=VALUE ...]",
    epilog="The options of one model only: run MODEL --help",
    calls_segmind=True,
)
_REQUEST = Command(
    "request",
    "Show the status of a request, and fetch its output; free",
    "Show the status of a request of this account, and its output URL, cost and times once it is COMPLETED. "
    "With -o, wait for it and store its output. The calls are free. Segmind keeps the record of a request for "
    "one hour; after that the request history is read.",
    _request,
    "request",
    calls_segmind=True,
)
_EMULATOR = Command(
    "emulator",
    "Start a local stand-in for Segmind's gateway; free, needs no key",
    "Serve a local stand-in for Segmind's gateway until Ctrl-C. It upscales with Pillow, bills nothing, and "
    "prints its address and a connection for Airflow.",
    emulator.add_arguments,
    "show",
    usage="%(prog)s [--port N] [options]",
    epilog=emulator.EPILOG,
)


def commands(model: str | None = None) -> tuple[Command, ...]:
    """
    Return the commands.

    :param model: slug of the model that the command line names: the help of ``run`` shows the options of this model.
        Default: the options of all models.
    """
    return (_CREDITS, _MODELS, _RUN if model is None else _run_of(model), _REQUEST, _EMULATOR)


def _run_of(model: str) -> Command:
    text = f"MODEL = {model}. {_RUN.description}"
    return _RUN._replace(description=text, arguments=partial(_run, model=model), epilog=None)
