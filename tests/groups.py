"""
The tests of one worker with ``--dist loadgroup``: those of a file, and those of all files that share an Airflow.

xdist's own mark ``xdist_group`` does not work since pytest 9.2, because xdist cannot write it into a test's id.
"""

from __future__ import annotations

from typing import Any

import pytest

#: Files, and folders (with /), whose tests use the fixture ``shared_airflow``.
SHARING = (
    "tests/ui/",
    "tests/plugins/test_preview_route.py",
    "tests/e2e/test_examples.py",
    "tests/e2e/test_lineage.py",
)


def group_of(nodeid: str) -> str:
    """Return the name of a test's group."""
    file = nodeid.partition("::")[0]
    return "airflow" if file.startswith(SHARING) else file


class Distribution:
    """Hooks of pytest and xdist."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Distribute whole groups, the largest first, with ``--dist loadgroup``."""
        if config.getoption("dist") != "loadgroup":
            return None
        from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

        scheduler = LoadScopeScheduling(config, log)
        scheduler._split_scope = group_of
        return scheduler

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Refuse a test that would start a second shared Airflow on another worker."""
        if "shared_airflow" in getattr(item, "fixturenames", ()) and group_of(item.nodeid) != "airflow":
            raise pytest.UsageError(f"{item.nodeid} uses shared_airflow: add its file to SHARING in tests/groups.py")
