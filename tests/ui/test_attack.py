"""Untrusted text on our pages is shown as text. The fixture ``open_ui`` fails a test in which a script ran."""

from __future__ import annotations

import pytest

from tests.ui.conftest import RUN, OpenUi
from tests.ui.evil import EVIL, SCRIPT

pytestmark = [pytest.mark.ui, pytest.mark.usefixtures("runs")]

SAFE = """() => [...document.querySelectorAll("a[href], img, script")]
    .map((element) => element.href ?? element.src).filter((url) => !/^(https?|blob):/.test(url))"""


@pytest.mark.parametrize("task", ["script", "data", "markup", "error", "batch"])
def test_markup_and_scripts_are_text(open_ui: OpenUi, task: str) -> None:
    ui = open_ui()
    frame = ui.tab("attack", RUN, task, alone=task != "script")
    ui.let_scripts_run(frame)
    assert EVIL in frame.locator("main").inner_text()
    assert frame.evaluate(SAFE) == []
    assert frame.locator("main script, main [onerror], main img").count() == 0
    if task in ("script", "batch"):
        assert SCRIPT in frame.locator("main").inner_text()


def test_in_the_gallery_too(open_ui: OpenUi) -> None:
    ui = open_ui()
    frame = ui.gallery()
    frame.get_by_label("DAG").select_option("attack")
    frame.wait_for_selector("ul.grid[aria-busy=false]", state="attached")
    ui.let_scripts_run(frame)
    reported = frame.locator("main").inner_text()
    assert EVIL in reported
    assert EVIL in frame.get_by_label("Model").inner_text()
    assert frame.evaluate(SAFE) == []
    assert frame.locator("main script, main [onerror], li.item:not([hidden]) img").count() == 0


def test_a_breach_would_be_reported(open_ui: OpenUi) -> None:
    """The policy stops an injected script, and the tests above would report it."""
    ui = open_ui()
    frame = ui.tab("attack", RUN, "markup")
    frame.evaluate("html => { document.querySelector('main').innerHTML = html; }", EVIL)
    ui.page.wait_for_function("window.breaches.some((breach) => breach.startsWith('script-src'))")
    ui.let_scripts_run(frame)
    assert ui.page.evaluate("window.hacked") is None
    ui.page.evaluate("window.breaches = []")
