"""The wait for a request, shown; and its output, put into a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from airflow_provider_segmind.cli.console import ERR, OUT, bill, report
from airflow_provider_segmind.polling.drivers import wait_for_request
from airflow_provider_segmind.protocol.content_types import EXTENSIONS
from airflow_provider_segmind.protocol.events import CompletedEvent, read_event
from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.storage.outputs import store_result

if TYPE_CHECKING:
    from rich.progress import Task

    from airflow_provider_segmind.hooks.segmind import SegmindHook
    from airflow_provider_segmind.polling.loop import Watch
    from airflow_provider_segmind.protocol.wire import RequestState, Result

#: How full the bar gets before the request is finished: Segmind tells no progress.
_NEARLY = 0.95


class _ByTheClock(BarColumn):
    """A bar that fills with the model's usual time; it only moves where that is not known."""

    def render(self, task: Task) -> Any:
        """Draw it as of now."""
        if task.total is not None:
            task.completed = min(task.elapsed or 0.0, _NEARLY * task.total)
        return super().render(task)


def wait(hook: SegmindHook, watch: Watch) -> Result:
    """
    Wait until a request is finished, with a bar on a terminal and a line for each state elsewhere.

    :raises SegmindError: it failed, is not known, or took too long.
    """
    model = MODELS.get(watch.model)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), _ByTheClock(), TimeElapsedColumn())
    with Progress(*columns, console=ERR, transient=True, disable=not ERR.is_terminal) as progress:
        bar = progress.add_task("submitted", total=model.expected_seconds if model else None)

        def show(state: RequestState) -> None:
            progress.update(bar, description=state.lower())
            if not ERR.is_terminal:
                report(state.lower(), to=ERR)

        event = read_event(wait_for_request(hook, replace(watch, on_state=show)).payload(), request_id=watch.request_id)
    if isinstance(event, CompletedEvent):
        return event.result
    return hook.get_result(event.request_id, model=watch.model)


def uri_of(path: str) -> str:
    """Return a file of this machine as a URI; what is one already stays as it is, and so does a last slash."""
    if "://" in path:
        return path
    return f"file://{Path(path).expanduser().absolute()}" + ("/" if path.endswith("/") else "")


def deliver(
    hook: SegmindHook,
    result: Result,
    destination: str,
    *,
    stem: str,
    at_least: tuple[int, int] | None = None,
) -> None:
    """
    Store the outputs of a result, and say what they are and what they cost.

    :param hook: fetches them.
    :param result: what Segmind answered.
    :param destination: URI of a file or folder.
    :param stem: name of the input.
    :param at_least: width and height of the input in pixels, where known.
    """
    for found in store_result(hook, result, destination, name=stem, names={"stem": stem}, at_least=at_least):
        pixels = f"{found.width} x {found.height} pixels, " if found.width else ""
        report(f"{found.uri.removeprefix('file://')}: {pixels}{found.content_type}, {found.bytes} bytes")
        extension, expected = Path(found.uri).suffix.lower(), EXTENSIONS.get(found.content_type)
        if expected and extension and extension != expected and {extension, expected} != {".jpeg", ".jpg"}:
            report(f"Its name ends with {extension}, but it is {found.content_type}.", to=ERR, style="yellow")
    report(bill(result.metrics), to=OUT)
