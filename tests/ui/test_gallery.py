"""The gallery in a real browser."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.shared_airflow import SharedAirflow
from tests.ui.conftest import RUN, OpenUi, drawn

if TYPE_CHECKING:
    from playwright.sync_api import Frame

pytestmark = [pytest.mark.ui, pytest.mark.usefixtures("runs")]

CARDS = "li.item:not([hidden])"


def loaded(frame: Frame) -> Frame:
    """Return the frame once everything is loaded."""
    frame.wait_for_selector("ul.grid[aria-busy=false]", state="attached")
    drawn(frame)  # the totals follow with the next frame of the screen
    return frame


def tile(frame: Frame, name: str) -> str:
    found = frame.locator(".tile", has=frame.get_by_text(name, exact=True)).locator("dd b").inner_text()
    return str(found)


def models(frame: Frame) -> set[str]:
    return set(frame.locator(f"{CARDS} .line b").all_inner_texts())


def test_filters_and_totals(open_ui: OpenUi) -> None:
    frame = loaded(open_ui().gallery())
    everything = frame.locator(CARDS).count()
    frame.get_by_label("DAG").select_option("product_photos")
    loaded(frame)
    assert frame.locator(CARDS).count() == 8 < everything
    assert tile(frame, "Images") == "7"  # one only submits
    assert tile(frame, "Cost") == "0.18"  # four by bria, one by nomos, two by esrgan
    assert re.fullmatch(r"[\d.]+ s", tile(frame, "Median run"))
    assert "0.18" in str(frame.get_by_role("img", name="Cost by day").get_attribute("aria-label"))
    assert frame.get_by_role("img", name="Median time by day").locator("circle").count() >= 1
    frame.get_by_label("Model").select_option("bria-increase-resolution")
    assert (models(frame), frame.locator(CARDS).count()) == ({"bria-increase-resolution"}, 4)
    assert tile(frame, "Cost") == "0.16"
    frame.get_by_label("Model").select_option("")
    frame.get_by_label("DAG").select_option("fails")
    loaded(frame)
    assert tile(frame, "Failed") == str(frame.locator(CARDS).count()) == "4"
    frame.get_by_label("State").select_option("done")
    loaded(frame)
    assert frame.locator(CARDS).count() == 0
    assert frame.get_by_text("No request matches these filters.").count() == 1


def test_thumbnails_are_shown(open_ui: OpenUi) -> None:
    frame = open_ui().gallery()
    frame.get_by_label("DAG").select_option("product_photos")
    loaded(frame)
    card = frame.locator(CARDS, has=frame.get_by_text("enlarge [cat.jpg]"))
    card.scroll_into_view_if_needed()
    frame.wait_for_function("img => img.naturalWidth === 600", arg=card.locator("img").element_handle())


@pytest.mark.parametrize(
    ("name", "goes_to"),
    [
        ("product_photos", r"/dags/product_photos$"),
        (RUN, r"/dags/product_photos/runs/[^/]+$"),
        ("hero", r"/runs/[^/]+/tasks/hero$"),
        ("Open esrgan of hero", r"/tasks/hero/plugin/segmind-upscaled$"),
    ],
)
def test_links_stay_in_the_app(open_ui: OpenUi, name: str, goes_to: str) -> None:
    ui = open_ui()
    frame = ui.gallery()
    ui.page.evaluate("window.same = true")
    frame.get_by_label("DAG").select_option("product_photos")
    loaded(frame)
    card = frame.locator(CARDS, has=frame.get_by_text("hero", exact=True))
    link = card.get_by_role("link", name=name, exact=True)
    assert str(link.get_attribute("href")).startswith(f"{ui.base}/dags/product_photos")
    link.click()
    ui.page.wait_for_url(re.compile(goes_to))
    ui.page.get_by_text("product_photos").first.wait_for()
    assert ui.page.evaluate("window.same")
    assert ui.page.url.startswith(ui.base)


@pytest.fixture
def five_hundred(airflow: SharedAirflow, runs: None) -> Iterator[None]:
    """Give the DAG "archive" 500 mapped tasks, for the time of a test."""
    copy_rows(airflow, 500)
    yield
    for table in ("xcom", "task_instance"):
        airflow.write(f"DELETE FROM {table} WHERE dag_id = 'archive' AND map_index > ?", (0,))


@pytest.mark.parametrize("base", [""], ids=["root"], indirect=True)
@pytest.mark.usefixtures("five_hundred")
def test_five_hundred_requests(open_ui: OpenUi) -> None:
    ui = open_ui()
    frame = ui.gallery()
    loaded(frame)
    images: list[str] = []
    ui.page.on("request", lambda request: images.append(request.url) if request.resource_type == "image" else None)
    frame.evaluate(WATCH)
    frame.get_by_label("DAG").select_option("archive")
    loaded(frame)
    for shown in range(50, 500, 50):
        assert frame.locator(CARDS).count() == shown
        frame.get_by_role("button", name="Show more").click()
        frame.wait_for_function("([cards, n]) => document.querySelectorAll(cards).length > n", arg=[CARDS, shown])
        loaded(frame)
    assert frame.locator(CARDS).count() == 500
    assert tile(frame, "Images") == str(frame.locator(CARDS).count())
    assert 1 < frame.evaluate(AT_ONCE) <= 6
    assert len(images) < 100  # the visible ones and a few more, of 500 on the page
    assert frame.evaluate("Math.max(0, ...window.long)") < 1000  # milliseconds of the longest task, on a busy machine


WATCH = """
    window.long = [];
    new PerformanceObserver((list) => window.long.push(...list.getEntries().map((entry) => entry.duration)))
        .observe({entryTypes: ["longtask"]});
    performance.clearResourceTimings();
    performance.setResourceTimingBufferSize(5000);
"""
#: Returns how many calls ran at the same time.
AT_ONCE = """() => {
    const calls = performance.getEntriesByType("resource").filter((entry) => entry.name.includes("/api/v2/"));
    return Math.max(...calls.map((one) =>
        calls.filter((other) => other.startTime <= one.startTime && other.responseEnd > one.startTime).length));
}"""


def copy_rows(airflow: SharedAirflow, number: int) -> None:
    """Copy the one mapped task of "archive": all rows that Airflow has of it, with other map indexes."""
    of = "dag_id = 'archive' AND map_index = 0"
    for table in ("task_instance", "xcom"):
        for row in airflow.rows(f"SELECT * FROM {table} WHERE {of}"):
            if table == "xcom" and row["key"] != "return_value":
                continue

            def copied(index: int, row: dict[str, Any] = row, table: str = table) -> tuple[Any, ...]:
                changes: dict[str, Any] = {"map_index": index}
                if table == "task_instance":
                    changes["id"] = uuid.uuid4().hex
                else:  # a request of its own
                    changes["value"] = re.sub(r"(request_id[^0-9a-f]+)[0-9a-f]{8}", rf"\g<1>{index:08x}", row["value"])
                return tuple({**row, **changes}.values())

            marks = ", ".join("?" for _ in row)
            airflow.write(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *map(copied, range(1, number)))
