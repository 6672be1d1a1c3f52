"""``airflow segmind …``. Airflow loads this whenever ``airflow`` starts, so it imports nothing that a command needs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_provider_segmind.cli.arguments import Command, commands, model_in

if TYPE_CHECKING:
    import argparse

    from airflow.cli.cli_config import CLICommand

_GROUP = "segmind"


def get_segmind_cli_commands() -> list[CLICommand]:
    """Return the group ``segmind``; Airflow finds this function by ``cli`` of the provider's metadata."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand
    from rich.markup import escape

    def args_of(command: Command) -> list[Arg]:
        found: list[Arg] = []
        command.arguments(lambda *flags, **named: found.append(Arg(flags, **named)))  # type: ignore[no-untyped-call]
        return found

    return [
        GroupCommand(
            name=_GROUP,
            help="Run Segmind's models, show requests and the credit balance",
            subcommands=tuple(
                ActionCommand(
                    name=command.name,
                    help=command.help,
                    description=command.description,
                    func=_function(command),
                    args=tuple(args_of(command)),
                    epilog=command.epilog and escape(command.epilog),  # Airflow takes text in brackets for markup
                )
                for command in commands(model_in(sys.argv) if _GROUP in sys.argv[1:2] else None)
            ),
        )
    ]


def _function(command: Command) -> Callable[[argparse.Namespace], Any]:
    def run(args: argparse.Namespace) -> None:
        from airflow_provider_segmind.cli.main import execute

        if code := execute(command, args, program="airflow segmind"):
            sys.exit(code)

    return run
