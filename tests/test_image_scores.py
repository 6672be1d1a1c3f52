"""The comparison over hundreds of pairs: the bar, and the table of the documentation."""

from __future__ import annotations

import pytest

from tests.image_pairs import pairs, photos
from tests.image_scores import CAUGHT, FALSE_ALARMS, PAGE, PHOTOS, SIDE, THRESHOLDS, refused, scored, scores_table


@pytest.fixture(scope="module")
def rows():
    return scored(pairs(photos(PHOTOS, SIDE)))


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_gross_defects_are_caught_without_false_alarms(rows, threshold):
    print(scores_table(rows))
    caught, defects = refused(rows, threshold, gross=True)
    alarms, benign = refused(rows, threshold, gross=False)
    assert defects >= 300
    assert benign >= 300
    assert caught >= CAUGHT * defects
    assert alarms <= FALSE_ALARMS * benign


def test_the_table_of_the_page_is_of_these_pairs(rows):
    """Not its scores: these differ in the second digit between versions of Pillow."""
    text = PAGE.read_text(encoding="utf-8").split("<!-- scores -->\n", 1)[1].split("<!-- /scores -->", 1)[0]

    def kinds_and_numbers(lines):
        return [line.split(" | ")[:2] for line in lines.splitlines()]

    assert kinds_and_numbers(text) == kinds_and_numbers(scores_table(rows)), "run: python -m tests.image_scores"
