"""What the reader of images makes of each file of a folder: as an input, as an output, and for a preview."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from airflow_provider_segmind.exceptions import SegmindError
from airflow_provider_segmind.protocol.content_types import HEAD, content_type, format_name, type_of_name
from airflow_provider_segmind.storage.preview_writer import make_preview
from airflow_provider_segmind.storage.verification import INPUT_FORMATS, OUTPUT_FORMATS, verified_size

USES: dict[str, Callable[[BinaryIO], object]] = {
    "input": lambda file: verified_size(file, whole=True, formats=INPUT_FORMATS),
    "output": lambda file: verified_size(file, whole=True, formats=OUTPUT_FORMATS),
    "preview": lambda file: f"{make_preview(file, b'')[1]}",
}
ACCEPTED, REFUSED, RAW = "accepted", "refused", "raw error"


@dataclass(frozen=True)
class Verdict:
    """What one file is for one use."""

    use: str
    kind: str
    text: str


@dataclass(frozen=True)
class Surveyed:
    """A file, its verdicts, and its actual format if its name states another."""

    path: Path
    verdicts: list[Verdict]
    wrong_extension: str | None


@dataclass
class Survey:
    """The files of a folder."""

    files: list[Surveyed] = field(default_factory=list)

    def count(self, use: str, kind: str) -> int:
        """Return the number of files with this verdict."""
        return sum(verdict.use == use and verdict.kind == kind for file in self.files for verdict in file.verdicts)

    @property
    def raw_errors(self) -> list[tuple[Path, Verdict]]:
        """The verdicts that are errors of a library, not of this package."""
        return [(file.path, verdict) for file in self.files for verdict in file.verdicts if verdict.kind == RAW]

    @property
    def wrong_extensions(self) -> list[Surveyed]:
        """The files whose name states another format."""
        return [file for file in self.files if file.wrong_extension]


def survey(paths: Iterable[Path]) -> Survey:
    """Return what each file is."""
    return Survey([_surveyed(path) for path in paths])


def files_in(folder: Path) -> list[Path]:
    """Return the files of a folder and its subfolders."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def verdict_of(file: BinaryIO, use: str) -> Verdict:
    """Return what a file is for one use."""
    try:
        return Verdict(use, ACCEPTED, str(USES[use](file)))
    except SegmindError as error:
        hidden = (
            "<_io" in error.detail or "object at 0x" in error.detail
        )  # a message that only a programmer understands
        return Verdict(use, RAW if hidden else REFUSED, error.detail)
    except Exception as error:  # noqa: BLE001  it is what the survey is for
        return Verdict(use, RAW, f"{type(error).__name__}: {error}")


def _surveyed(path: Path) -> Surveyed:
    with path.open("rb") as file:
        head = file.read(HEAD)
        named, actual = type_of_name(path.name), content_type(head)
        wrong = named is not None and named != actual
        verdicts = [verdict_of(file, use) for use in USES]
    return Surveyed(path, verdicts, (format_name(head) or "unknown") if wrong else None)
