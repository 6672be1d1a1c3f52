"""From the command line to a command, and from its outcome to an exit code: 0, 1 (an error) or 2 (usage)."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_segmind import __version__
from airflow_provider_segmind.cli.arguments import commands, model_in
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError

if TYPE_CHECKING:
    from airflow_provider_segmind.cli.arguments import Command

PROGRAM = "python -m airflow_provider_segmind"
_INTERRUPTED = 130  # the exit code that shells give a process that Ctrl-C ended


class UsageError(SegmindConfigError):
    """The command line is not valid; reported like argparse's own errors."""


def parser(model: str | None = None) -> argparse.ArgumentParser:
    """
    Return the parser of ``python -m airflow_provider_segmind``.

    :param model: slug of the model whose options ``run --help`` shows; default: the options of all models.
    """
    command_line = argparse.ArgumentParser(prog=PROGRAM, description="Run Segmind's upscalers from the terminal.")
    command_line.add_argument("--version", action="version", version=f"airflow-provider-segmind {__version__}")
    subparsers = command_line.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in commands(model):
        one = subparsers.add_parser(
            command.name,
            help=command.help,
            description=command.description,
            usage=command.usage,
            epilog=command.epilog,
            formatter_class=_HelpFormatter,
        )
        command.arguments(one.add_argument)
        one.set_defaults(command=command)
    return command_line


class _HelpFormatter(argparse.HelpFormatter):
    """Wrap one-line texts, and keep texts of several lines, such as tables, as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    args = parser(model_in(given)).parse_args(given)
    return execute(args.command, args, program=PROGRAM)


def execute(command: Command, args: argparse.Namespace, *, program: str) -> int:
    """
    Run a command whose arguments are parsed, and report errors without a traceback.

    :param command: the command.
    :param args: its arguments.
    :param program: what the user typed before the command's name, for hints.
    """
    args.program = program
    if command.calls_segmind:
        from airflow_provider_segmind.cli.console import reduce_logs

        reduce_logs()
    module = importlib.import_module(f"{__package__}.{command.module}")
    try:
        getattr(module, command.name)(args)
    except UsageError as error:
        sys.stderr.write(f"{program} {command.name}: error: {error.detail}\n")
        return 2
    except SegmindError as error:
        from airflow_provider_segmind.cli.console import report_error

        report_error(error)
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return _INTERRUPTED
    return 0
