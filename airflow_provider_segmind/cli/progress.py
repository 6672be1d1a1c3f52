"""The wait for a request, with its progress, and the storage of its output."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from airflow_provider_segmind.cli.console import ERR, bill, report, report_json
from airflow_provider_segmind.polling.drivers import wait_for_request
from airflow_provider_segmind.protocol.events import CompletedEvent, read_event
from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.storage.expected import Expected
from airflow_provider_segmind.storage.outputs import store_result

if TYPE_CHECKING:
    from rich.progress import Task

    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.polling.loop import Watch
    from airflow_provider_segmind.protocol.wire import RequestState, Result

#: The part of the bar that is filled at most before the request completes: Segmind reports no progress.
_MAX_SHARE = 0.95


class _ExpectedTimeBar(BarColumn):
    """A bar that fills with the model's expected time; if that is not known, the bar only pulses."""

    def render(self, task: Task) -> Any:
        """Draw the bar as of now."""
        if task.total is not None:
            task.completed = min(task.elapsed or 0.0, _MAX_SHARE * task.total)
        return super().render(task)


def wait(hook: SegmindHook, watch: Watch) -> Result:
    """
    Wait until a request is finished. A terminal shows a bar; elsewhere each status, and each minute, is one line.

    :param hook: polls.
    :param watch: the request, and the deadline.
    :raises SegmindError: the request failed, is not known, or took too long.
    """
    model, limit = MODELS.get(watch.model), watch.deadline - watch.submitted_at
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        _ExpectedTimeBar(),
        TimeElapsedColumn(),
        TextColumn(f"of {limit:.0f} s at most", markup=False),
    )
    with Progress(*columns, console=ERR, transient=True, disable=not ERR.is_terminal) as progress:
        bar = progress.add_task("submitted", total=model.expected_seconds if model else None)

        def show(state: RequestState, seconds: float) -> None:
            progress.update(bar, description=state.lower())
            if not ERR.is_terminal:
                report(f"{state.lower()}, {seconds:.0f} s of {limit:.0f} s", to=ERR)

        event = wait_for_request(hook, replace(watch, on_progress=show))
    event = read_event(event.payload(), request_id=watch.request_id)
    if isinstance(event, CompletedEvent):
        return event.result
    return hook.get_result(event.request_id, model=watch.model)


def uri_of(path: str) -> str:
    """Return a file of this machine as a URI; a URI stays as it is, and so does a last slash."""
    if "://" in path:
        return path
    return f"file://{Path(path).expanduser().absolute()}" + ("/" if path.endswith("/") else "")


def deliver(
    hook: SegmindHook,
    result: Result,
    destination: str,
    *,
    stem: str,
    expected: Expected,
    as_json: bool = False,
) -> None:
    """
    Store the outputs of a result, and print what they are and what they cost.

    :param hook: downloads them.
    :param result: the result.
    :param destination: URI of a file or folder.
    :param stem: name of the input.
    :param expected: what the outputs have to be.
    :param as_json: print JSON (default: text).
    """
    stored = store_result(hook, result, destination, name=stem, names={"stem": stem}, expected=expected)
    if as_json:
        report_json({**result.to_xcom(), "stored": [found.to_dict() for found in stored]})
        return
    for found in stored:
        pixels = f"{found.width} x {found.height} pixels, " if found.width else ""
        same = "" if found.similarity is None else f", similarity to the input {found.similarity:.2f}"
        report(f"{found.uri.removeprefix('file://')}: {pixels}{found.content_type}, {found.bytes} bytes{same}")
    report(bill(result.metrics))
