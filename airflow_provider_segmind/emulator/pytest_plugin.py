"""The pytest fixture ``segmind_emulator``: test a DAG offline, with real pixels.

    def test_my_dag(segmind_emulator):
        segmind_emulator.faults.add("status", "status:502", times=1)
        assert my_dag.test().state == "success"
        assert segmind_emulator.stats.billed == 1

The connection ``segmind_default`` points to the emulator during the test. A marker changes the settings:
``@pytest.mark.segmind_emulator(latency=0.5, credits=1)``. ``segmind_emulator.sample_url()`` is the URL of
an image that the emulator serves.

One server runs for the whole session and is reset before each test. Nothing heavy is imported until a
test requests the fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .server import Emulator


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, for suites with ``--strict-markers``."""
    config.addinivalue_line(
        "markers", "segmind_emulator(**settings): settings of the emulator for this test, such as latency"
    )


@pytest.fixture(scope="session")
def _segmind_emulator_server() -> Iterator[Emulator]:
    from .server import Emulator

    with Emulator(latency=0.0) as emulator:
        yield emulator


@pytest.fixture
def segmind_emulator(
    _segmind_emulator_server: Emulator, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Emulator:
    """Reset the emulator, and point ``AIRFLOW_CONN_SEGMIND_DEFAULT`` to it."""
    marker = request.node.get_closest_marker("segmind_emulator")
    _segmind_emulator_server.reset(**(marker.kwargs if marker else {}))
    monkeypatch.setenv("AIRFLOW_CONN_SEGMIND_DEFAULT", _segmind_emulator_server.connection_uri)
    return _segmind_emulator_server
