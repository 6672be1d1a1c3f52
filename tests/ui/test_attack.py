"""Text of other people on our pages: shown as text, whatever it looks like. ``look`` watches for what would run."""

from __future__ import annotations

import pytest

from tests.ui.conftest import RUN, Look
from tests.ui.evil import EVIL, SCRIPT

pytestmark = [pytest.mark.ui, pytest.mark.usefixtures("runs")]

SAFE = """() => [...document.querySelectorAll("a[href], img, script")]
    .map((element) => element.href ?? element.src).filter((url) => !/^(https?|blob):/.test(url))"""


@pytest.mark.parametrize("task", ["script", "data", "markup", "error", "batch"])
def test_markup_and_scripts_are_text(poll: Look, task: str) -> None:
    ui = poll()
    frame = ui.tab("attack", RUN, task, alone=task != "script")
    ui.let_scripts_run(frame)
    assert EVIL in frame.locator("main").inner_text()
    assert frame.evaluate(SAFE) == []
    assert frame.locator("main script, main [onerror], main img").count() == 0
    if task in ("script", "batch"):
        assert SCRIPT in frame.locator("main").inner_text()


def test_in_the_gallery_too(poll: Look) -> None:
    ui = poll()
    frame = ui.gallery()
    frame.get_by_label("DAG").select_option("attack")
    frame.wait_for_selector("ul.grid[aria-busy=false]", state="attached")
    ui.let_scripts_run(frame)
    reported = frame.locator("main").inner_text()
    assert EVIL in reported
    assert EVIL in frame.get_by_label("Model").inner_text()
    assert frame.evaluate(SAFE) == []
    assert frame.locator("main script, main [onerror], li.item:not([hidden]) img").count() == 0


def test_the_watch_would_see_it(poll: Look) -> None:
    """A script that somebody put into the page is stopped by the policy, and the tests above would know."""
    ui = poll()
    frame = ui.tab("attack", RUN, "markup")
    frame.evaluate("html => { document.querySelector('main').innerHTML = html; }", EVIL)
    ui.page.wait_for_function("window.breaches.some((breach) => breach.startsWith('script-src'))")
    ui.let_scripts_run(frame)
    assert ui.page.evaluate("window.hacked") is None
    ui.page.evaluate("window.breaches = []")
