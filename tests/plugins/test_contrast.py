"""The colours of text on their grounds, in both themes: WCAG AA asks for 4.5 to 1."""

from __future__ import annotations

import re

import pytest

from airflow_provider_segmind.plugins.pages import WWW

STYLE = (WWW / "style.css").read_text(encoding="utf-8")
ON_CARDS = [(ink, ground) for ink in ("fg", "muted", "accent") for ground in ("ground", "card", "sunk")]
PAIRS = [*ON_CARDS, *((name, f"{name}-soft") for name in ("done", "failed", "waiting")), ("on-accent", "accent")]


def colours(theme: str) -> dict[str, str]:
    """Return the variables of a theme; the dark one overrides those of the light one."""
    blocks = re.findall(r":root(\[data-theme=\"dark\"\])? \{(.*?)\n\}", STYLE, re.DOTALL)
    found: dict[str, str] = {}
    for dark, block in blocks:
        if not dark or theme == "dark":
            found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block))
    return found


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("ink", "ground"), PAIRS, ids="-on-".join)
def test_text_can_be_read(theme: str, ink: str, ground: str) -> None:
    found = colours(theme)
    high, low = sorted([luminance(found[ink]), luminance(found[ground])], reverse=True)
    assert (high + 0.05) / (low + 0.05) >= 4.5
