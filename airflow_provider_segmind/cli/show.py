"""``credits``, ``models`` and ``emulator``: what needs no request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from airflow_provider_segmind.cli.console import OUT, hook_for, report, whose
from airflow_provider_segmind.cli.main import UsageError
from airflow_provider_segmind.cli.parameters import parameters_of
from airflow_provider_segmind.protocol.models import MODELS, model_page

if TYPE_CHECKING:
    import argparse


def credits(args: argparse.Namespace) -> None:
    """Show the balance."""
    with hook_for(args.conn_id) as hook:
        found = hook.get_credits()
        free = f", {found.free_credits:.10g} of them free" if found.free_credits else ""
        report(f"{found.total:.10g} credits{free}")
        report(f"at {whose(hook)}", style="dim")


def models(args: argparse.Namespace) -> None:
    """Show the three upscalers with their parameters."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("Model", "Parameter", "Type", "Default", "Allowed"):
        table.add_column(heading, no_wrap=True)
    for slug, model in MODELS.items():
        found = parameters_of(model)
        for number, parameter in enumerate(found):
            required = parameter.default is None
            default = "required" if required else json.dumps(parameter.default).strip('"')
            image = "URL, data URI, base64" if model.takes_base64 else "URL, data URI"
            table.add_row(
                "" if number else slug,
                parameter.name,
                parameter.kind,
                default,
                image if required else parameter.allowed,
                end_section=number + 1 == len(found),
            )
    OUT.print(table)
    for slug, model in MODELS.items():
        pace = f", {model.expected_seconds:g} s a request" if model.expected_seconds else ""
        report(f"{slug}: {model.title}, {model_page(slug)}{pace}")
    report(f"Any other model runs by its slug: {args.program} run SLUG -p name=value -o FILE")


def emulator(args: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    from airflow_provider_segmind.emulator.__main__ import serve

    try:
        serve(args)
    except ValueError as error:
        raise UsageError(str(error)) from error
