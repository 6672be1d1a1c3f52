"""
The documentation's screenshots, taken by the browser that tests the pages: ``make screenshots`` renews them.

In other runs they go into the test's own folder. The tests check that each theme shows what it should.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from tests.shared_airflow import SharedAirflow
from tests.ui.conftest import RUN, OpenUi, drawn

pytestmark = [pytest.mark.ui, pytest.mark.usefixtures("runs")]

MAX_BYTES = 400_000  # of one image in the repository
SIZE = {"width": 1280, "height": 800}


#: (task, map index) -> how many days ago it ran: the screenshot shows a week of runs.
AGES = {("enlarge", 0): 5, ("thumbnails", -1): 4, ("enlarge", 1): 3, ("enlarge", 2): 3, ("enlarge", 3): 1}


@pytest.fixture(scope="module")
def a_week(airflow: SharedAirflow, runs: None) -> Iterator[None]:
    """Change the start dates of some tasks in Airflow's database, for the tests of this file."""
    of = "dag_id = 'product_photos' AND run_id = ? AND task_id = ? AND map_index = ?"
    change = f"UPDATE task_instance SET start_date = ? WHERE {of}"
    dates = {of_: airflow.rows(f"SELECT start_date FROM task_instance WHERE {of}", RUN, *of_) for of_ in AGES}
    now = datetime.now(UTC).replace(tzinfo=None)
    airflow.write(change, *(((now - timedelta(days=days)).isoformat(" "), RUN, *of_) for of_, days in AGES.items()))
    yield
    airflow.write(change, *((rows[0]["start_date"], RUN, *of_) for of_, rows in dates.items()))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("base", [""], ids=["root"], indirect=True)
def test_the_tab(open_ui: OpenUi, shots: Path, theme: str) -> None:
    ui = open_ui(theme=theme, viewport=SIZE, device_scale_factor=1.5)
    frame = ui.tab("product_photos", RUN, "hero")
    slider = frame.get_by_role("slider")
    for _ in range(2):
        slider.press("ArrowLeft")
    frame.locator(".hint").click()  # away from the knob
    keep(ui.page.screenshot(path=shots / "tab.png"), shots / f"airflow-tab-{theme}.webp", shots / "tab.png")


@pytest.mark.usefixtures("a_week")
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("base", [""], ids=["root"], indirect=True)
def test_the_gallery(open_ui: OpenUi, shots: Path, theme: str) -> None:
    ui = open_ui(theme=theme, viewport=SIZE, device_scale_factor=1.5)
    frame = ui.gallery()
    frame.get_by_label("DAG").select_option("product_photos")
    frame.wait_for_selector("ul.grid[aria-busy=false]", state="attached")
    assert len(frame.get_by_role("img", name="Cost by day").locator("rect").all()) == 5
    frame.locator("h1").click()
    frame.wait_for_function("[...document.querySelectorAll('li.item img')].slice(0, 10).every((img) => img.complete)")
    frame.wait_for_function("document.getAnimations().every((one) => one.playState !== 'running')")
    drawn(frame)
    keep(ui.page.screenshot(path=shots / "gallery.png"), shots / f"airflow-gallery-{theme}.webp", shots / "gallery.png")


def keep(_: bytes, target: Path, taken: Path) -> None:
    """Keep a screenshot as WebP: a third of the size, without a visible loss."""
    with Image.open(taken) as image:
        assert image.size == (1920, 1200)
        image.convert("RGB").save(target, quality=88, method=6)
    taken.unlink()
    assert target.stat().st_size < MAX_BYTES
