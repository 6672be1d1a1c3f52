"""
Which tests one worker runs, with ``--dist loadgroup``: those of a file, and those of all files that share an Airflow.

xdist itself would go by the mark ``xdist_group``, which it cannot write into a test's id since pytest 9.2.
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
    """The name of the group to which a test belongs."""
    file = nodeid.partition("::")[0]
    return "airflow" if file.startswith(SHARING) else file


class Distribution:
    """The hooks of pytest and xdist."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Hand out whole groups, the largest first, where groups are asked for."""
        if config.getoption("dist") != "loadgroup":
            return None
        from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

        scheduler = LoadScopeScheduling(config, log)
        scheduler._split_scope = group_of
        return scheduler

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        """Refuse a test that would start another shared Airflow on another worker."""
        if "shared_airflow" in getattr(item, "fixturenames", ()) and group_of(item.nodeid) != "airflow":
            raise pytest.UsageError(f"{item.nodeid} uses shared_airflow: add its file to SHARING in tests/groups.py")
