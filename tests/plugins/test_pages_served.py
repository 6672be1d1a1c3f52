"""The pages' files as they are served: headers, allowed content, and the cost of importing the plugin."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from airflow_provider_segmind.plugins.pages import CONTENT_SECURITY_POLICY, WWW, Pages
from airflow_provider_segmind.plugins.segmind import SegmindPlugin
from airflow_provider_segmind.protocol.models import MODELS
from tests.airflow_versions import needs_airflow_sdk

FILES = sorted(WWW.iterdir())


def get(path: str, root: str = "", **headers: str) -> httpx.Response:
    """Request a page as Airflow does that mounts them, without a server between."""

    async def request() -> httpx.Response:
        transport = httpx.ASGITransport(Pages(), root_path=root)
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow") as client:
            return await client.get(root + path, headers=headers)

    return asyncio.run(request())


@pytest.mark.parametrize("root", ["", "/team/segmind"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_is_served_with_a_strict_policy(path: Path, root: str) -> None:
    response = get(f"/{path.name}", root)
    assert response.status_code == 200
    assert response.content == path.read_bytes()
    assert response.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-content-type-options"] == "nosniff"
    kind = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}[path.suffix]
    assert response.headers["content-type"].partition(";")[0] == kind
    again = get(f"/{path.name}", root, **{"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    "path", ["/", "/pages.py", "/../pages.py", "/..%2fpages.py", "/%2e%2e/pages.py", "/nothing.js"]
)
def test_nothing_else_is_served(path: str) -> None:
    response = get(path)
    assert response.status_code == 404
    assert response.headers["content-security-policy"] == CONTENT_SECURITY_POLICY


def test_the_pages_load_the_slug_of_each_operator_from_the_table_of_models() -> None:
    response = get("/models.js")
    assert (response.status_code, response.headers["cache-control"]) == (200, "no-cache")
    assert response.headers["content-type"].partition(";")[0] == "text/javascript"
    assert response.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    slugs = response.text.removeprefix("export const MODEL_OF = ").rstrip(";\n")
    assert json.loads(slugs) == {model.operator: slug for slug, model in MODELS.items()}
    assert 'import { MODEL_OF } from "./models.js";' in (WWW / "requests.js").read_text(encoding="utf-8")


def test_the_policy_allows_nothing_inline() -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'; script-src 'self'; style-src 'self';")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_sources_use_safe_functions_only(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 350
    if path.suffix == ".js":
        found = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|srcdoc", text)
        assert found == []
        assert all(name.startswith("./") for name in re.findall(r'from "([^"]+)"', text))
    if path.suffix == ".html":
        assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|https?://", text) == []
    if path.suffix == ".css":
        assert "@import" not in text
        assert "url(" not in text


def test_the_plugin_names_existing_pages() -> None:
    for view in SegmindPlugin.external_views:
        for name in ("href", "icon", "icon_dark_mode"):
            address = str(view[name])
            assert address.startswith("segmind/")  # no leading slash, so that it works below a path
            assert (WWW / address.removeprefix("segmind/").partition("?")[0]).is_file()


IMPORT = """
import sys, time
import airflow.sdk
from airflow.providers.common.compat.sdk import AirflowPlugin, BaseOperatorLink
before, began = set(sys.modules), time.process_time()
import airflow_provider_segmind.plugins.segmind
spent = time.process_time() - began
print("SPENT", spent, *sorted(set(sys.modules) - before))
"""


@needs_airflow_sdk
def test_importing_the_plugin_costs_a_task_next_to_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, timeout=60, check=True)
    spent, *modules = done.stdout.rpartition("SPENT ")[2].split()
    assert [name for name in modules if not name.startswith("airflow_provider_segmind")] == []
    assert float(spent) < 0.05  # seconds of CPU: 1 ms; Starlette would take 200
