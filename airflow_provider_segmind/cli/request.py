"""``request``: the status of a request, and its output from its record or from the request history."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from airflow_provider_segmind.cli.console import bill, open_hook, report, report_json
from airflow_provider_segmind.cli.progress import deliver, uri_of, wait
from airflow_provider_segmind.exceptions import SegmindRequestExpiredError
from airflow_provider_segmind.execution.gateway import SegmindModel
from airflow_provider_segmind.execution.recover import recalled
from airflow_provider_segmind.polling.loop import Watch
from airflow_provider_segmind.protocol.wire import RequestState
from airflow_provider_segmind.storage.expected import Expected

if TYPE_CHECKING:
    import argparse

    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.protocol.wire import Result


def request(args: argparse.Namespace) -> None:
    """Show a request; with ``--output`` wait for it, and store its output."""
    with open_hook(args.conn_id) as hook:
        try:
            result = _from_record(hook, args)
        except SegmindRequestExpiredError as error:
            result = _from_history(hook, args, error)
        if result is None:
            return
        if args.output:
            deliver(
                hook,
                result,
                uri_of(args.output),
                stem=args.request_id,
                expected=Expected(args.verify),
                as_json=args.json,
            )
        elif args.json:
            report_json(result.to_xcom())
        else:
            urls = [file.url for file in result.outputs] or ([result.output] if result.output else [])
            for line in urls or ["The output is inside the response. Store it with -o FILE."]:
                report(line)
            report(bill(result.metrics))


def _from_record(hook: SegmindHook, args: argparse.Namespace) -> Result | None:
    """Return the result of a request that is finished, or that ``--output`` waits for; None if it is not finished."""
    status = hook.get_status(args.request_id)
    ends_here = status.state is RequestState.FAILED or (status.state is not RequestState.COMPLETED and not args.output)
    _show(args, status.state, ends_here=ends_here)
    if status.state is RequestState.FAILED:
        raise status.failure()
    if status.state is RequestState.COMPLETED:
        return hook.get_result(args.request_id)
    if not args.output:
        return None
    now = time.time()
    return wait(hook, Watch(args.request_id, "", submitted_at=now, deadline=now + args.timeout))


def _from_history(hook: SegmindHook, args: argparse.Namespace, expired: SegmindRequestExpiredError) -> Result | None:
    """Return the result of a request without a record; None if the request history has it as not finished."""
    source = " (from the request history)"
    try:
        result = recalled(SegmindModel(hook, ""), expired, model="")
    except SegmindRequestExpiredError as error:
        if error.retryable:
            _show(args, RequestState.PROCESSING, source, ends_here=True)
            return None
        raise SegmindRequestExpiredError(
            "neither its record, which is kept for one hour, nor the request history has its output",
            request_id=args.request_id,
            next_step="Check the request id, and that the key belongs to the account that submitted it.",
        ) from error
    _show(args, RequestState.COMPLETED, source)
    return result


def _show(args: argparse.Namespace, status: RequestState, source: str = "", *, ends_here: bool = False) -> None:
    """
    Print the status.

    :param source: where the status comes from; default: the request's record.
    :param ends_here: nothing else is printed on stdout, so JSON has to be printed now.
    """
    if not args.json:
        report(f"{args.request_id}: {status}{source}")
    elif ends_here:
        report_json({"request_id": args.request_id, "status": status})
