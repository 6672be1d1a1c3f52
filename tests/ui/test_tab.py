"""The tab "Upscaled" in a real browser: at the root and below a path."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from tests.shared_airflow import SharedAirflow
from tests.ui.conftest import RUN, AirflowPage, OpenUi

if TYPE_CHECKING:
    from playwright.sync_api import Frame, JSHandle

pytestmark = [pytest.mark.ui, pytest.mark.usefixtures("runs")]


def text(frame: Frame) -> str:
    """Return the text of the page, in plain characters."""
    reported = frame.locator("main").inner_text().replace("\N{MULTIPLICATION SIGN}", "x")
    return re.sub(r"\s+", " ", reported)


def natural(frame: Frame, which: str) -> tuple[int, int]:
    found = frame.locator(f".stage > img{which}").evaluate("img => [img.naturalWidth, img.naturalHeight]")
    return found[0], found[1]


def at(frame: Frame) -> float:
    """Return the position of the divider, and check that it is the same in its label and on the screen."""
    reported = float(frame.get_by_role("slider").get_attribute("aria-valuenow") or -1)
    clip = frame.locator(".stage > img.before").evaluate("img => getComputedStyle(img).clipPath")
    covered = re.fullmatch(r"inset\(0px (?:calc\(100% - )?([\d.]+)%\)? 0px 0px\)", clip)
    assert covered, clip
    shown = float(covered[1]) if "calc" in clip else 100 - float(covered[1])
    assert shown == pytest.approx(reported, abs=0.6)
    return reported


def test_before_and_after_with_their_natural_sizes(open_ui: OpenUi) -> None:
    frame = open_ui().tab("product_photos", RUN, "hero")
    assert natural(frame, ".before") == (300, 200)
    assert natural(frame, ":not(.before)") == (1200, 800)
    reported = text(frame)
    for part in ("Before 300 x 200", "After 1200 x 800", "esrgan", "Done", "PNG", "0.005", "from 300 x 200, x 4"):
        assert part in reported, part
    for part in ("Balance after", "Run", "Queue", "Request id", "scale", "output_format"):
        assert part in reported, part
    assert "[object" not in reported


def test_the_divider_by_mouse_touch_and_keys(open_ui: OpenUi) -> None:
    ui = open_ui(has_touch=True)
    frame = ui.tab("product_photos", RUN, "hero")
    slider = frame.get_by_role("slider", name="Divider between before and after")
    assert at(frame) == 50
    stage = frame.locator(".stage").bounding_box()
    knob = slider.bounding_box()
    assert stage
    assert knob
    middle = stage["y"] + stage["height"] / 2
    ui.page.mouse.move(knob["x"] + knob["width"] / 2, middle)
    ui.page.mouse.down()
    ui.page.mouse.move(stage["x"] + stage["width"] / 4, middle, steps=4)
    ui.page.mouse.up()
    assert at(frame) == pytest.approx(25, abs=1)
    ui.page.mouse.move(stage["x"] + stage["width"] * 0.9, middle)  # the button is released
    assert at(frame) == pytest.approx(25, abs=1)
    ui.page.touchscreen.tap(stage["x"] + stage["width"] * 0.7, middle)
    assert at(frame) == pytest.approx(70, abs=1)
    for key, expected in (("Home", 0), ("ArrowRight", 2), ("Shift+ArrowRight", 12), ("ArrowLeft", 10), ("End", 100)):
        slider.press(key)
        assert at(frame) == expected
    assert slider.get_attribute("aria-valuetext") == "100 % before, 0 % after"


#: Returns whether the left edge of the image is under the lens.
EDGE_UNDER_LENS = """lens => {
    const half = lens.querySelector('.half:not(.before)');
    const inside = half.firstChild.getBoundingClientRect().x - half.getBoundingClientRect().x;
    return inside > 0 && inside < half.offsetWidth;
}"""


def test_one_to_one_and_the_lens(open_ui: OpenUi) -> None:
    ui = open_ui()
    frame = ui.tab("product_photos", RUN, "hero")
    frame.get_by_role("button", name="1:1").click()
    assert frame.locator(".stage").evaluate("stage => stage.offsetWidth") == 1200
    frame.get_by_role("button", name="1:1").click()
    assert frame.locator(".stage").evaluate("stage => stage.offsetWidth") < 700
    frame.get_by_role("button", name="Lens").click()
    lens = frame.get_by_role("img", name="Lens")
    where = "element => element.querySelector('.half:not(.before) img').getBoundingClientRect().toJSON()"
    before = lens.evaluate(where)
    assert before["width"] == 1200
    lens.press("ArrowRight")
    assert lens.evaluate(where)["x"] < before["x"]  # the detail moves under the lens
    stage = frame.locator(".stage").bounding_box()
    assert stage
    ui.page.mouse.move(stage["x"] + 5, stage["y"] + 5)
    frame.wait_for_function(EDGE_UNDER_LENS, arg=lens.element_handle())
    assert at(frame) == 50  # the lens does not move the divider


def test_mapped_tasks_link_their_neighbours(open_ui: OpenUi) -> None:
    ui = open_ui()
    frame = ui.tab("product_photos", RUN, "enlarge", 1)
    reported = text(frame)
    assert "cat.jpg (2 of 4)" in reported
    assert natural(frame, ":not(.before)") == (600, 400)
    ui.page.evaluate("window.same = true")
    frame.get_by_role("link", name="Next mapped task").click()
    ui.page.wait_for_url("**/mapped/2/plugin/segmind-upscaled")
    ui.page.wait_for_selector('iframe[src*="map_index=2"]')
    assert ui.page.evaluate("window.same")  # Airflow's UI navigated by itself, without loading again
    assert ui.page.url.startswith(ui.base)


def test_the_parent_of_mapped_tasks_lists_them(open_ui: OpenUi) -> None:
    ui = open_ui()
    ui.page.goto(
        f"{ui.base}/segmind/view.html?dag_id=product_photos&run_id={RUN}&task_id=enlarge&map_index={{MAP_INDEX}}"
    )
    ui.page.wait_for_selector("main:not([aria-busy])")
    assert ui.page.get_by_role("listitem").count() == 4


@pytest.mark.parametrize(
    ("task", "parts"),
    [
        ("into_storage", ["file://", "SHA-256", "1600 x 1392", "nomos-upscaler"]),
        ("thumbnails", ["512 x 512", "from 256 x 256", "scale"]),
        ("only_submits", ["Submitted.", "Request id"]),
        ("not_ours", ["Nothing to show."]),
    ],
)
def test_other_tasks(open_ui: OpenUi, task: str, parts: list[str]) -> None:
    reported = text(open_ui().tab("product_photos", RUN, task, alone=True))
    for part in parts:
        assert part in reported


def test_the_similarity_to_an_input_in_storage_is_shown(open_ui: OpenUi) -> None:
    assert "Similarity to the input" in text(open_ui().tab("private", RUN, "kept", alone=True))


def test_a_batch_is_reported_in_numbers(open_ui: OpenUi) -> None:
    reported = text(open_ui().tab("catalogue", RUN, "whole_folder", alone=True))
    for part in (
        "Batch of 5 images",
        "Stored 4",
        "Failed 1",
        "whole_folder.manifest.jsonl",
        "SegmindRequestFailedError",
    ):
        assert part in reported


@pytest.mark.parametrize("task", ["in_worker", "deferred"])
def test_a_failure_shows_the_errors_message(open_ui: OpenUi, task: str) -> None:
    ui = open_ui()
    frame = ui.tab("fails", RUN, task)
    reported = text(frame)
    for part in (
        "The request ran and failed",
        "unexpected end of data",
        "What to do: A failed request is not billed.",
        "Request id",
    ):
        assert part in reported
    assert natural(frame, "") == (300, 200)  # the input
    frame.get_by_role("link", name="Open the logs").click()
    ui.page.wait_for_url(re.compile(rf"/tasks/{task}$"))


def test_expired_and_misconfigured(open_ui: OpenUi) -> None:
    ui = open_ui()
    expired = text(ui.tab("fails", RUN, "expired", alone=True))
    assert "Expired" in expired
    assert "7c9e6679-7425-40de-944b-e07fc1f90ae7" in expired
    assert "must be an http(s) URL" in text(ui.tab("fails", RUN, "refused", alone=True))


@pytest.mark.parametrize("task", ["in_worker", "deferred"])
def test_waiting_turns_to_done_by_itself(open_ui: OpenUi, airflow: SharedAirflow, task: str) -> None:
    run = f"now+{uuid4().hex[:8]}"

    def both_wait() -> bool:
        states = {ti["task_id"]: ti["state"] for ti in airflow.api.instances("waits", run)}
        return states == {"in_worker": "running", "deferred": "deferred"}

    with airflow.held():
        airflow.api.trigger_dag("waits", run)
        airflow.wait("both tasks wait", both_wait, seconds=120)
        frame = open_ui().tab("waits", run, task)
        title = frame.get_by_role("heading", name="Waiting for Segmind" if task == "deferred" else "Running")
        title.wait_for()
        frame.get_by_text(re.compile(r"Usually [\d.]+ s")).wait_for()
        frame.get_by_text("Request id").wait_for()
        first = frame.locator(".clock").inner_text()
        assert natural(frame, "") == (256, 256)
        frame.wait_for_function("first => document.querySelector('.clock').textContent !== first", arg=first)
    frame.get_by_role("slider").wait_for(timeout=90_000)
    assert natural(frame, ":not(.before)") == (512, 512)
    assert airflow.finish("waits", run, seconds=120) == "success"


def test_a_missing_task_instance(open_ui: OpenUi) -> None:
    frame = open_ui().tab("product_photos", "none", "none", alone=True)
    assert "This task instance does not exist" in text(frame)


def root(ui: AirflowPage) -> JSHandle:
    return ui.page.evaluate_handle("document.documentElement")


def themed(frame: Frame) -> tuple[str, str]:
    body = frame.locator("body").evaluate("body => getComputedStyle(body).color")
    return str(frame.locator("html").get_attribute("data-theme")), str(body)


def test_it_follows_the_theme(open_ui: OpenUi) -> None:
    ui = open_ui(theme="dark")
    frame = ui.tab("product_photos", RUN, "hero")
    assert themed(frame) == ("dark", "rgb(242, 244, 248)")
    root(ui).evaluate("root => { root.className = root.style.colorScheme = 'light'; }")
    frame.wait_for_selector("html[data-theme=light]", state="attached")
    assert themed(frame) == ("light", "rgb(24, 24, 27)")
