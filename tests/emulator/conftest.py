"""One emulator for the folder, reset for each test, and an HTTP caller that does not use the provider's client."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_provider_segmind.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parent.parent


class Caller:
    """Calls the emulator's API, with one method for each frequent call."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.http = httpx.Client(
            base_url=emulator.url,
            headers={"x-api-key": emulator.api_key},
            timeout=20,
            trust_env=False,
            verify=False,  # plain HTTP, and loading certificates is slow
        )

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.http.post(path, json={} if body is None else body, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(path, **options)

    def submit(self, model: str, **parameters: Any) -> str:
        response = self.post(f"/v2/{model}", parameters)
        assert response.status_code == 200, response.text
        request_id: str = response.json()["request_id"]
        return request_id

    def status(self, request_id: str) -> httpx.Response:
        return self.get(f"/v2/requests/{request_id}/status")

    def result(self, request_id: str) -> httpx.Response:
        return self.get(f"/v2/requests/{request_id}")

    def finish(self, request_id: str) -> httpx.Response:
        """Poll until the job is over, then read its result."""
        deadline = time.monotonic() + 10
        while self.status(request_id).json()["status"] in ("QUEUED", "PROCESSING"):
            assert time.monotonic() < deadline, "the job does not end"
            time.sleep(0.005)
        return self.result(request_id)

    def run(self, model: str, **parameters: Any) -> dict[str, Any]:
        body: dict[str, Any] = self.finish(self.submit(model, **parameters)).json()
        return body


@pytest.fixture(scope="session")
def _server() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def emulator(_server: Emulator) -> Emulator:
    _server.reset()
    return _server


@pytest.fixture
def api(emulator: Emulator) -> Iterator[Caller]:
    caller = Caller(emulator)
    with caller.http:
        yield caller


@pytest.fixture(scope="session")
def photos() -> Path:
    return TESTS / "photos"


@pytest.fixture
def wire() -> Any:
    """Return a function that reads an example of Segmind's API."""

    def read(name: str) -> dict[str, Any]:
        example: dict[str, Any] = json.loads((TESTS / "wire" / f"{name}.json").read_text())
        return example

    return read
