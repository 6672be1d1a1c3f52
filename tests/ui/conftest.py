"""The shared Airflow with two addresses, at the root and below a path, and one headless Chromium."""

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

#: The path in the variable CHROMIUM, else Debian's Chromium.
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
#: Records every breach of the content security policy.
WATCHED = """
    window.breaches = [];
    addEventListener("securitypolicyviolation", (e) => {
        (window.top.breaches ??= []).push(`${e.violatedDirective} ${e.blockedURI}`);
    });
"""
TIMEOUT = 20_000  # milliseconds for anything that a page has to show

#: The type of the fixture ``open_ui``.
OpenUi = Callable[..., "AirflowPage"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start Debian's Chromium, driven by playwright."""
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
    """Return a running Airflow. It depends on ``browser``, so that nothing starts without a browser."""
    return shared_airflow


#: The run ids contain characters that have to be escaped in an address.
RUN = "manual__2026-11-20T09:00:00+00:00"
DONE = [("product_photos", RUN), ("private", RUN), ("catalogue", RUN), ("waits", "earlier"), ("archive", "many")]
FAILED = [("fails", RUN), ("attack", RUN)]


@pytest.fixture(scope="session")
def runs(airflow: SharedAirflow) -> None:
    """Run every kind of task, to success or failure."""
    ended = airflow.run_all(*DONE, *FAILED)
    assert ended == dict.fromkeys(DONE, "success") | dict.fromkeys(FAILED, "failed")


def drawn(frame: Frame) -> None:
    """Return when the frame has drawn what its scripts have changed; a hidden page never draws."""
    frame.evaluate(
        "() => Promise.race([new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))),"
        " new Promise((done) => setTimeout(done, 1000))])"
    )


@dataclass
class AirflowPage:
    """A page of Airflow's UI, with our frame in it."""

    page: Page
    base: str

    def tab(self, dag: str, run: str, task: str, index: int = -1, *, alone: bool = False) -> Frame:
        """
        Open the tab of a task instance.

        :param alone: the page without Airflow's UI around it, as an extra link opens it, which is much faster.
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
        """Return when an image that cannot be loaded has failed: a script that waits for that has run by then."""
        frame.evaluate("""() => new Promise((done) => {
            const late = Object.assign(new Image(), {onload: done, onerror: done});
            late.src = "x";
        })""")
        drawn(frame)

    def frame(self, name: str) -> Frame:
        """Return the frame of one of our pages, once it exists."""
        handle = self.page.wait_for_selector(f'iframe[src*="segmind/{name}"]', timeout=TIMEOUT)
        frame = handle.content_frame() if handle else None
        assert frame is not None
        return frame


@pytest.fixture(params=["", "/team"], ids=["root", "team"])
def base(request: pytest.FixtureRequest) -> str:
    """Return the path below which the UI is served."""
    return str(request.param)


@pytest.fixture(scope="session")
def contexts(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Return a function that makes a browser context for each set of options; it loads Airflow's scripts once."""
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
def open_ui(airflow: SharedAirflow, base: str, contexts: Callable[..., BrowserContext]) -> Iterator[OpenUi]:
    """Return a function that opens the UI. Errors of scripts and breaches of the policy fail the test."""
    pages: list[Page] = []
    wrong: list[str] = []

    def new_page(*, theme: str = "light", **options: Any) -> AirflowPage:
        size = {"width": 1280, "height": 860}
        page = contexts(**{"viewport": size, "color_scheme": theme, **options}).new_page()
        pages.append(page)
        page.set_default_timeout(TIMEOUT)
        page.add_init_script(f"localStorage.setItem('theme', '{theme}');{WATCHED}")
        page.on("pageerror", lambda error: wrong.append(f"{error}"))
        return AirflowPage(page, airflow.address(base))

    yield new_page
    for page in pages:
        wrong += page.evaluate("window.breaches")
        assert page.evaluate("window.hacked") is None
        page.close()
    assert wrong == []


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Return where screenshots go: ``make screenshots`` sets the folder of the documentation's images."""
    named = os.environ.get("SCREENSHOTS")
    return Path(named) if named else tmp_path
