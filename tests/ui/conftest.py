"""The shared Airflow with two addresses, at the root and below a path, and one headless Chromium for the browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest

from tests.shared_airflow import SharedAirflow

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Frame, Page

#: The one of Debian, or where it is elsewhere: the variable CHROMIUM.
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
#: What a page would set that ran somebody else's script; and every breach of the policy is reported.
WATCHED = """
    window.breaches = [];
    addEventListener("securitypolicyviolation", (e) => {
        (window.top.breaches ??= []).push(`${e.violatedDirective} ${e.blockedURI}`);
    });
"""
TIMEOUT = 20_000  # milliseconds for anything that a page is to show

Look = Callable[..., "Look_"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, driven by playwright."""
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium; or name it in CHROMIUM)")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield started
        started.close()


@pytest.fixture(scope="session")
def airflow(browser: Browser, shared_airflow: SharedAirflow) -> SharedAirflow:
    """A running Airflow. After the fixture ``browser``: where there is none, nothing needs to start."""
    return shared_airflow


#: The run ids hold what has to be escaped in an address.
RUN = "manual__2026-11-20T09:00:00+00:00"
DONE = [("product_photos", RUN), ("private", RUN), ("catalogue", RUN), ("waits", "earlier"), ("archive", "many")]
FAILED = [("fails", RUN), ("attack", RUN)]


@pytest.fixture(scope="session")
def runs(airflow: SharedAirflow) -> None:
    """What there is to be seen: every kind of task, done or failed."""
    ended = airflow.run_all(*DONE, *FAILED)
    assert ended == dict.fromkeys(DONE, "success") | dict.fromkeys(FAILED, "failed")


def drawn(frame: Frame) -> None:
    """Return when what the frame's scripts had planned is on the screen; a page that is hidden never draws."""
    frame.evaluate(
        "() => Promise.race([new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),"
        " new Promise((done) => setTimeout(done, 1000))])"
    )


@dataclass
class Look_:  # noqa: N801 - what the fixture ``look`` returns
    """A page of Airflow's UI, and the frame of ours in it."""

    page: Page
    base: str

    def tab(self, dag: str, run: str, task: str, index: int = -1, *, alone: bool = False) -> Frame:
        """
        Open the tab of a task instance.

        :param alone: the page without Airflow's UI around it, as an extra link opens it: much sooner there.
        """
        if alone:
            ids = {"dag_id": dag, "run_id": run, "task_id": task, "map_index": index if index >= 0 else "{MAP_INDEX}"}
            self.page.goto(f"{self.base}/segmind/view.html?{urlencode(ids)}")
            self.page.wait_for_selector("main:not([aria-busy])", timeout=TIMEOUT)
            return self.page.main_frame
        mapped = f"/mapped/{index}" if index >= 0 else ""
        where = f"/dags/{quote(dag)}/runs/{quote(run, safe='')}/tasks/{quote(task)}{mapped}/plugin/segmind-upscaled"
        return self._open(where, "view.html")

    def gallery(self) -> Frame:
        """Open the gallery."""
        return self._open("/plugin/segmind-gallery", "gallery.html")

    def _open(self, where: str, name: str) -> Frame:
        self.page.goto(self.base + where)
        frame = self.frame(name)
        frame.wait_for_selector("main:not([aria-busy])", timeout=TIMEOUT)
        return frame

    def let_scripts_run(self, frame: Frame) -> None:
        """Return when a picture that cannot be loaded has said so: a script that waits for that has run by then."""
        frame.evaluate("""() => new Promise((done) => {
            const late = Object.assign(new Image(), {onload: done, onerror: done});
            late.src = "x";
        })""")
        drawn(frame)

    def frame(self, name: str) -> Frame:
        """The frame in which one of our pages is, once it is there."""
        handle = self.page.wait_for_selector(f'iframe[src*="segmind/{name}"]', timeout=TIMEOUT)
        frame = handle.content_frame() if handle else None
        assert frame is not None
        return frame


@pytest.fixture(params=["", "/team"], ids=["root", "team"])
def base(request: pytest.FixtureRequest) -> str:
    """Below which path the UI is."""
    return str(request.param)


@pytest.fixture(scope="session")
def contexts(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Make browser contexts; those of the same options are one, so that Airflow's scripts are loaded once."""
    made: dict[str, BrowserContext] = {}

    def context(**options: Any) -> BrowserContext:
        name = repr(sorted(options.items()))
        if name not in made:
            made[name] = browser.new_context(**options)
        return made[name]

    yield context
    for one in made.values():
        one.close()


@pytest.fixture
def poll(airflow: SharedAirflow, base: str, contexts: Callable[..., BrowserContext]) -> Iterator[Look]:
    """Open the UI: ``look(theme="dark")``. Errors of scripts and breaches of the policy fail the test."""
    pages: list[Page] = []
    wrong: list[str] = []

    def open_ui(*, theme: str = "light", **options: Any) -> Look_:
        size = {"width": 1280, "height": 860}
        page = contexts(**{"viewport": size, "color_scheme": theme, **options}).new_page()
        pages.append(page)
        page.set_default_timeout(TIMEOUT)
        page.add_init_script(f"localStorage.setItem('theme', '{theme}');{WATCHED}")
        page.on("pageerror", lambda error: wrong.append(f"{error}"))
        return Look_(page, airflow.address(base))

    yield open_ui
    for page in pages:
        wrong += page.evaluate("window.breaches")
        assert page.evaluate("window.hacked") is None
        page.close()
    assert wrong == []


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where screenshots go: ``make screenshots`` names the folder of the documentation's pictures."""
    named = os.environ.get("SCREENSHOTS")
    return Path(named) if named else tmp_path
