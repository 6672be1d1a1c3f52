"""
The comparison of outputs with inputs, measured on pairs of images.

``python -m tests.image_scores`` writes the table of docs/reference/comparison.md. With a folder it prints the table of
other images, such as those that the comparison was not tuned on: ``python -m tests.image_scores FOLDER``.
"""

from __future__ import annotations

import argparse
import io
import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_segmind.protocol.models import MODELS
from airflow_provider_segmind.storage.comparison import compare
from tests.document_tables import REFERENCE, table
from tests.image_pairs import Pair, pairs, photos

PHOTOS = Path(__file__).parent / "photos"
PAGE = REFERENCE / "comparison.md"
#: Longest side of the inputs in pixels: small ones keep the test short.
SIDE = 200
#: The thresholds of the models, and which share of pairs each has to classify correctly.
THRESHOLDS = sorted({model.same_above for model in MODELS.values() if model.same_above is not None})
CAUGHT, FALSE_ALARMS = 0.99, 0.01


@dataclass(frozen=True)
class Scored:
    """A pair without its bytes, and its scores."""

    photo: str
    kind: str
    gross: bool
    score: float
    explanation: str


def scored(found: Iterable[Pair]) -> list[Scored]:
    """Return the scores of pairs."""
    rows = []
    for pair in found:
        comparison = compare(io.BytesIO(pair.source), io.BytesIO(pair.output))
        rows.append(Scored(pair.photo, pair.kind, pair.gross, comparison.score, comparison.explanation))
    return rows


def refused(rows: Iterable[Scored], threshold: float, *, gross: bool) -> tuple[int, int]:
    """Return how many pairs of one sort are below a threshold, and how many there are."""
    scores = [row.score for row in rows if row.gross == gross]
    return sum(score < threshold for score in scores), len(scores)


def scores_table(rows: list[Scored]) -> str:
    """Return the table: for each sort of pair its scores, and how many are refused at each threshold."""
    lines = []
    for gross, title in ((False, "**the same image**"), (True, "**a gross defect**")):
        kinds = dict.fromkeys(row.kind for row in rows if row.gross == gross)
        for kind in (title, *kinds):
            part = [row for row in rows if row.gross == gross and kind in (title, row.kind)]
            scores = [row.score for row in part]
            lines.append(
                (
                    kind,
                    str(len(part)),
                    f"{min(scores):.2f}",
                    f"{statistics.median(scores):.2f}",
                    f"{max(scores):.2f}",
                    *(str(refused(part, threshold, gross=gross)[0]) for threshold in THRESHOLDS),
                )
            )
    return table(
        ("pairs", "number", "lowest", "median", "highest", *(f"refused at {limit}" for limit in THRESHOLDS)), lines
    )


def main() -> None:
    """Write the table of the page, or print that of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="a folder of other images; nothing is written")
    parser.add_argument("--side", type=int, default=SIDE, help="longest side of the inputs in pixels")
    arguments = parser.parse_args()
    folder = arguments.folder
    rows = scored(pairs(photos(folder or PHOTOS, arguments.side)))
    made = scores_table(rows)
    print(made)
    for row in sorted((row for row in rows if row.gross == (row.score >= THRESHOLDS[0])), key=lambda row: row.kind):
        print(f"{row.photo}: {row.kind}: {row.score:.3f}, {row.explanation}")
    if folder is None:
        text = PAGE.read_text(encoding="utf-8")
        between = re.compile(r"(?<=<!-- scores -->\n).*?(?=<!-- /scores -->)", re.DOTALL)
        PAGE.write_text(between.sub(lambda _: made, text), encoding="utf-8")


if __name__ == "__main__":
    main()
