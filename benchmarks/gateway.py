"""The emulator in its own process, so that its CPU and memory are not counted, controlled through a pipe."""

from __future__ import annotations

import dataclasses
import io
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

_START_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Job:
    """A request in the gateway's state; times in seconds since the epoch."""

    request_id: str
    submitted_at: float
    ends_at: float

    @property
    def seconds(self) -> float:
        """The seconds from submit to completion."""
        return self.ends_at - self.submitted_at


class Gateway:
    """A client of the emulator's process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self.url, self.connection, self.api_key = pipe.recv()

    def submit(self, model: str, count: int) -> list[Job]:
        """Make the gateway accept this many requests at once, without HTTP."""
        jobs: list[Job] = self._ask("submit", model, count)
        return jobs

    def reset(self, **settings: Any) -> None:
        """Reset the emulator, and apply these settings on top of the first ones."""
        self._ask("reset", settings)

    def stats(self) -> dict[str, Any]:
        """Return the emulator's counters, and the CPU time of its process as ``cpu_seconds``."""
        stats: dict[str, Any] = self._ask("stats")
        return stats

    def _ask(self, *command: Any) -> Any:
        self._pipe.send(command)
        failure, response = self._pipe.recv()
        if failure:
            raise RuntimeError(f"the gateway failed: {failure}")
        return response


@contextmanager
def gateway(**settings: Any) -> Iterator[Gateway]:
    """
    Run an emulator in another process.

    :param settings: those of ``airflow_provider_segmind.emulator.Emulator``.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, settings), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(_START_SECONDS):
            raise RuntimeError(f"the emulator did not start within {_START_SECONDS:g} s")
        yield Gateway(ours)
    finally:
        ours.close()  # closing the pipe ends the process
        process.join(10)
        if process.is_alive():
            process.kill()
            process.join()


def _serve(pipe: Connection, settings: dict[str, Any]) -> None:
    from airflow_provider_segmind.emulator import Emulator

    with Emulator(credits=1e9, **settings) as emulator:
        pipe.send((emulator.url, emulator.connection_uri, emulator.api_key))
        while True:
            try:
                verb, *arguments = pipe.recv()
            except EOFError:
                return
            try:
                pipe.send((None, _VERBS[verb](emulator, *arguments)))
            except Exception as error:  # noqa: BLE001  it is raised again in the other process
                pipe.send((f"{type(error).__name__}: {error}", None))


def _submit(emulator: Any, model: str, count: int) -> list[Job]:
    from PIL import Image

    state = emulator.state
    if not state.files:
        file = io.BytesIO()
        Image.new("RGB", (2, 2)).save(file, "PNG")  # tiny, because pixel work is not measured
        emulator.add_image(file.getvalue(), "tiny.png")
    image = f"{emulator.url}/assets/{next(iter(state.files))}"
    known, owner = state.catalogue.find(model), state.authenticate(emulator.api_key)
    jobs = [state.submit(known, {"image": image}, owner) for _ in range(count)]
    return [Job(job.request_id, job.submitted_at, job.ends_at) for job in jobs]


_VERBS: dict[str, Any] = {
    "submit": _submit,
    "reset": lambda emulator, settings: emulator.reset(**settings),
    "stats": lambda emulator: {**dataclasses.asdict(emulator.stats), "cpu_seconds": time.process_time()},
}
