"""Read the outputs from Airflow and from the files, check them, and show them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from PIL import Image
from rich.box import SIMPLE_HEAD
from rich.table import Table

from demo.api import MODELS
from demo.sheet import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from demo.api import Api

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
#: The parameter that sets the factor of each model; nomos always enlarges four times.
_FACTORS = {"esrgan": "scale", "bria": "desired_increase"}
_NOMOS_FACTOR = 4


@dataclass(frozen=True)
class Outcome:
    """The output of one model for one image. Sizes are width and height in pixels; ``similarity`` is 0 to 1."""

    image: Path
    model: str
    factor: int
    before: tuple[int, int]
    after: tuple[int, int]
    uri: str
    similarity: float | None
    request_id: str
    cost: float | None
    seconds: float | None

    @property
    def expected(self) -> tuple[int, int]:
        """The size that the DAG's parameters request."""
        return self.before[0] * self.factor, self.before[1] * self.factor


def images_in(folder: Path) -> list[Path]:
    """Return the images in a folder, in the order of the DAG."""
    return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)


def local_path(uri: str) -> Path:
    """Return the path of a ``file://`` URI."""
    return Path(unquote(urlsplit(uri).path))


def collect(api: Api, run_id: str) -> list[Outcome]:
    """Return the outcome of every successful upscaling task, by image."""
    outcomes = [
        _outcome(ti, api.xcom(run_id, ti["task_id"], ti["map_index"]))
        for ti in api.task_instances(run_id)
        if ti["task_id"] in MODELS and ti["map_index"] >= 0 and ti["state"] == "success"
    ]
    order = list(MODELS)
    return sorted(outcomes, key=lambda outcome: (outcome.image.name, order.index(outcome.model)))


def _outcome(ti: dict[str, Any], returned: dict[str, Any]) -> Outcome:
    model, asked = ti["task_id"], ti["rendered_fields"]
    image, [stored] = local_path(asked["input_path"]), returned["stored"]
    return Outcome(
        image=image,
        model=model,
        factor=int(asked[_FACTORS[model]]) if model in _FACTORS else _NOMOS_FACTOR,
        before=_size(image),
        after=_size(local_path(stored["uri"])),  # read from the file, not from what the task returned
        uri=stored["uri"],
        similarity=stored.get("similarity"),
        request_id=returned["request_id"],
        cost=returned["metrics"]["cost"],
        seconds=returned["metrics"]["total_time"],
    )


def problems(outcomes: Sequence[Outcome], images: Sequence[Path], stats: dict[str, Any] | None) -> list[str]:
    """
    Return every problem found: an image that is missing, has the wrong size or was billed twice.

    :param outcomes: the outputs.
    :param images: the inputs.
    :param stats: the emulator's counters; None if Segmind itself was called.
    """
    found = []
    made = Counter((outcome.image.name, outcome.model) for outcome in outcomes)
    for image in images:
        missing = [model for model in MODELS if made[image.name, model] != 1]
        if missing:
            found.append(f"{image.name}: no output from {', '.join(missing)}")
    found += [
        f"{outcome.image.name}: the output from {outcome.model} has {_text(outcome.after)} pixels, "
        f"expected {_text(outcome.expected)}"
        for outcome in outcomes
        if outcome.after != outcome.expected
    ]
    found += [
        f"{outcome.image.name}: the output from {outcome.model} was not compared with its input"
        for outcome in outcomes
        if outcome.similarity is None
    ]
    if len({outcome.request_id for outcome in outcomes}) != len(outcomes):
        found.append("two tasks returned the same request")
    if stats is not None:
        for slug in MODELS.values():
            accepted = stats["by_model"].get(slug, {}).get("accepted", 0)
            if accepted != len(images):
                found.append(f"{slug}: {accepted} submits were accepted for {len(images)} images")
    return found


def table(outcomes: Sequence[Outcome], destination: Path) -> Table:
    """Return a table with one line per outcome, at most 80 columns wide."""
    shown = Table(box=SIMPLE_HEAD, show_edge=False, padding=0)
    for heading in ("Input", "Model", "Pixels", "Stored as"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("Same", "Cost", "Sec."):
        shown.add_column(heading, justify="right")
    for number, outcome in enumerate(outcomes):
        name = outcome.image.name
        first = number == 0 or name != outcomes[number - 1].image.name
        last = number + 1 == len(outcomes) or name != outcomes[number + 1].image.name
        shown.add_row(
            name if first else "",
            outcome.model,
            f"{_text(outcome.before)}→{_text(outcome.after)}",
            outcome.uri.removeprefix(f"{destination.as_uri()}/"),
            "" if outcome.similarity is None else f"{outcome.similarity:.2f}",
            "" if outcome.cost is None else f"{outcome.cost:g}",
            "" if outcome.seconds is None else f"{outcome.seconds:.1f}",
            end_section=last,
        )
    total = sum(outcome.cost or 0 for outcome in outcomes)
    shown.add_row("[bold]total", "", f"{len(outcomes)} outputs", "", "", f"[bold]{total:g}", "")
    return shown


def rows(outcomes: Sequence[Outcome]) -> list[Row]:
    """Return the contact sheet's rows."""
    by_image: dict[Path, list[tuple[str, Path]]] = {}
    for outcome in outcomes:
        by_image.setdefault(outcome.image, []).append((outcome.model, local_path(outcome.uri)))
    return [Row(image.name, image, after) for image, after in by_image.items()]


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
