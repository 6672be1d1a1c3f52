"""``request``: where a request stands, and its output while Segmind or its history has it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from airflow_provider_segmind.cli.console import bill, hook_for, report
from airflow_provider_segmind.cli.progress import deliver, uri_of, wait
from airflow_provider_segmind.exceptions import SegmindRequestExpiredError
from airflow_provider_segmind.execution.gateway import SegmindModel
from airflow_provider_segmind.execution.recover import recalled
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.protocol.wire import RequestState

if TYPE_CHECKING:
    import argparse

    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.wire import Result


def request(args: argparse.Namespace) -> None:
    """Show a request; with an output file wait for it, and fetch its output."""
    with hook_for(args.conn_id) as hook:
        try:
            result = _asked(hook, args)
        except SegmindRequestExpiredError as error:
            result = _recalled(hook, error)
        if result is None:
            return
        if args.output:
            deliver(hook, result, uri_of(args.output), stem=args.request_id)
            return
        for file in result.outputs:
            report(file.url)
        if not result.outputs:
            report(result.output or "Its output lies inside the answer: fetch it with -o FILE.")
        report(bill(result.metrics))


def _recalled(hook: SegmindHook, error: SegmindRequestExpiredError) -> Result | None:
    request_id = error.request_id
    try:
        result = recalled(SegmindModel(hook, ""), error, model="")
    except SegmindRequestExpiredError as pending:
        if not pending.retryable:
            raise
        report(f"{request_id}: on its way, says the request history")
        return None
    report(f"{request_id}: COMPLETED, says the request history")
    return result


def _asked(hook: SegmindHook, args: argparse.Namespace) -> Result | None:
    """Return the result of a request that is finished, or that is to be waited for."""
    status = hook.get_status(args.request_id)
    report(f"{args.request_id}: {status.state}")
    if status.state is RequestState.FAILED:
        raise status.failure()
    if status.state is RequestState.COMPLETED:
        return hook.get_result(args.request_id)
    if not args.output:
        return None
    now = time.time()
    return wait(hook, Watch(args.request_id, "", submitted_at=now, deadline=now + args.timeout))
