"""Images in private storage, in a real browser: previews for users who may read the DAG, nothing for others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from tests.plugins.site import Site
from tests.shared_airflow import SharedAirflow
from tests.ui.conftest import RUN, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import BrowserContext, Page

pytestmark = [pytest.mark.ui, pytest.mark.usefixtures("runs")]
IDS = urlencode({"dag_id": "private", "run_id": RUN, "task_id": "kept", "map_index": "-1"})


@pytest.fixture(scope="module")
def strict(airflow: SharedAirflow) -> Iterator[Site]:
    """Return an API server with users, of whom only ``admin`` may read the DAG ``private``."""
    with closing(Site(airflow, airflow.with_users())) as site:
        yield site


def opened(contexts: Callable[..., BrowserContext], site: Site, user: str) -> tuple[Page, list[tuple[str, int]]]:
    """Open the page as a user; return it with the previews that it requested and the status of each response."""
    page = contexts(extra_http_headers={"Authorization": f"Bearer {site.user(user).token}"}).new_page()
    asked: list[tuple[str, int]] = []
    page.on("response", lambda got: asked.append((got.url, got.status)) if "/segmind/preview" in got.url else None)
    page.goto(f"{site.url}/segmind/view.html?{IDS}")
    page.wait_for_selector("main:not([aria-busy])", timeout=TIMEOUT)
    return page, asked


def test_who_may_read_the_dag_sees_both_previews(strict: Site, contexts: Callable[..., BrowserContext]) -> None:
    page, asked = opened(contexts, strict, "admin")
    page.wait_for_function("[...document.querySelectorAll('.stage > img')].filter(i => i.naturalWidth).length === 2")
    sizes = page.evaluate(
        "[...document.querySelectorAll('.stage > img')].map(i => Math.max(i.naturalWidth, i.naturalHeight))"
    )
    assert sorted(sizes) == [400, 512]  # the input is smaller than a preview may be
    assert page.evaluate("[...document.querySelectorAll('.stage > img')].every(i => i.src.startsWith('blob:'))")
    assert sorted(status for _, status in asked) == [200, 200]
    page.close()


def test_who_may_not_read_the_dag_gets_none(strict: Site, contexts: Callable[..., BrowserContext]) -> None:
    page, asked = opened(contexts, strict, "viewer")
    assert page.locator("img").count() == 0
    status = page.evaluate("async ids => (await fetch(`preview?${ids}&which=after`)).status", IDS)
    assert status == 403
    assert all(code == 403 for _, code in asked)
    page.close()
