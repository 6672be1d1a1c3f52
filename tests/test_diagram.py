"""The diagram in docs/images is what its source draws, and a browser can read it."""

from __future__ import annotations

import runpy
from pathlib import Path
from xml.etree import ElementTree

SOURCE = Path(__file__).parents[1] / "docs" / "images" / "life_of_a_request.py"
IMAGE = SOURCE.with_name("life-of-a-request.svg")


def test_the_image_is_what_the_source_draws():
    assert IMAGE.read_text(encoding="utf-8") == runpy.run_path(str(SOURCE))["draw"](), "run: make diagram"


def test_it_stays_inside_its_frame_and_loads_nothing():
    root = ElementTree.fromstring(IMAGE.read_text(encoding="utf-8"))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for part in root.iter("{http://www.w3.org/2000/svg}rect"):
        at = {name: float(part.attrib[name]) for name in ("x", "y", "width", "height")}
        assert at["x"] >= 0
        assert at["x"] + at["width"] <= width
        assert at["y"] + at["height"] <= height
    assert not [name for part in root.iter() for name in part.attrib if name.endswith(("href", "src"))]
