"""``credits``, ``models`` and ``emulator``: the commands that submit no request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from airflow_provider_segmind.cli.console import OUT, account_of, open_hook, report, report_json
from airflow_provider_segmind.cli.main import UsageError
from airflow_provider_segmind.cli.parameters import parameters_of
from airflow_provider_segmind.protocol.models import MODELS, model_page

if TYPE_CHECKING:
    import argparse


def credits(args: argparse.Namespace) -> None:
    """Show the credit balance."""
    with open_hook(args.conn_id) as hook:
        found = hook.get_credits()
        if args.json:
            numbers = {"total": found.total, "credits": found.credits, "free_credits": found.free_credits}
            report_json({**numbers, "gateway": hook.settings.gateway, "conn_id": hook.segmind_conn_id})
            return
        free = f" ({found.free_credits:.10g} of them free)" if found.free_credits else ""
        report(f"{found.total:.10g} credits{free} at {account_of(hook)}")


def models(args: argparse.Namespace) -> None:
    """Show the upscalers with their parameters."""
    if args.json:
        report_json([_model(slug) for slug in MODELS])
        return
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("Model", "Parameter", "Type", "Default", "Allowed"):
        table.add_column(heading, no_wrap=True)
    for slug, model in MODELS.items():
        found = parameters_of(model)
        for number, parameter in enumerate(found):
            required = parameter.default is None
            default = "required" if required else json.dumps(parameter.default).strip('"')
            image = "URL, data URI, base64" if model.takes_base64 else "URL"
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
        duration = f", about {model.expected_seconds:g} s a request" if model.expected_seconds else ""
        report(f"{slug}: {model.title}, {model_page(slug)}{duration}")
    report(f"Any other model runs by its slug: {args.program} run SLUG -p name=value -o FILE")


def _model(slug: str) -> dict[str, Any]:
    model = MODELS[slug]
    return {
        "model": slug,
        "title": model.title,
        "page": model_page(slug),
        "expected_seconds": model.expected_seconds,
        "parameters": [parameter.to_dict() for parameter in parameters_of(model)],
    }


def emulator(args: argparse.Namespace) -> None:
    """Serve until Ctrl-C."""
    from airflow_provider_segmind.emulator.__main__ import serve

    try:
        serve(args)
    except ValueError as error:
        raise UsageError(str(error)) from error
