"""From the command line to a command, and from its outcome to an exit code: 0, 1 (an error) or 2 (usage)."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_segmind.cli.arguments import COMMANDS
from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindError

if TYPE_CHECKING:
    from airflow_provider_segmind.cli.arguments import Command

PROGRAM = "python -m airflow_provider_segmind"
_INTERRUPTED = 130  # what shells say of a process that Ctrl-C ended


class UsageError(SegmindConfigError):
    """What was typed makes no command; said like argparse's own errors."""


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``python -m airflow_provider_segmind``."""
    command_line = argparse.ArgumentParser(prog=PROGRAM, description="Segmind's upscalers from the terminal.")
    commands = command_line.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        one = commands.add_parser(
            command.name,
            help=command.help,
            description=command.help + ".",
            usage=command.usage,
            epilog=command.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.arguments(one.add_argument)
        one.set_defaults(command=command)
    return command_line


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = parser().parse_args(arguments)
    return execute(args.command, args, program=PROGRAM)


def execute(command: Command, args: argparse.Namespace, *, program: str) -> int:
    """
    Run a command whose arguments are read, and say errors without a traceback.

    :param command: which.
    :param args: its arguments.
    :param program: what was typed before the command's name, for hints.
    """
    args.program = program
    if command.asks:
        from airflow_provider_segmind.cli.console import quiet_logs

        quiet_logs()
    module = importlib.import_module(f"{__package__}.{command.module}")
    try:
        getattr(module, command.name)(args)
    except UsageError as error:
        sys.stderr.write(f"{program} {command.name}: {error.detail}\n")
        return 2
    except SegmindError as error:
        from airflow_provider_segmind.cli.console import complain

        complain(error)
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return _INTERRUPTED
    return 0
