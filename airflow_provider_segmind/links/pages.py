"""
Links on a task instance into Airflow: to before and after, as a tab and as a page.

They follow from the ids of the task instance alone, so no process of a task writes them: from Airflow 3 on our plugin
has the API server make them, for the operators of this package. A class that a user derives from them is not known
there; its tasks write these two as they write the others. A page that this Airflow's UI does not have gets no link.
They have no leading slash, so that they hold below a path in ``[api] base_url``, too.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_segmind.airflow_version import HAS_PAGES, HAS_TABS

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, TaskInstanceKey

#: As the plugin registers its tab and its page.
_TAB, _PAGE = "segmind-upscaled", "segmind/view.html"
_PACKAGE = __name__.partition(".")[0]
#: The operators that have these links, by module: nothing of them is imported before the API server asks.
_OPERATORS = {
    "operators.segmind": (
        "SegmindRunModelOperator",
        "SegmindRunWorkflowOperator",
        "SegmindEsrganOperator",
        "SegmindNomosUpscalerOperator",
        "SegmindBriaIncreaseResolutionOperator",
    ),
    "decorators.segmind": ("_SegmindDecoratedOperator",),
    "sensors.segmind": ("SegmindRequestSensor",),
    "transfers.segmind_to_object_storage": ("SegmindToObjectStorageOperator",),
}


_NAMES = [(f"{_PACKAGE}.{module}", name) for module, names in _OPERATORS.items() for name in names]


@cache
def operators_with_pages() -> list[type[BaseOperator]]:
    """Return the operators of this package that have these links."""
    return [getattr(import_module(module), name) for module, name in _NAMES]


class _LinkIntoAirflow(BaseOperatorLink):
    @property
    def operators(self) -> list[type[BaseOperator]]:  # type: ignore[override]
        """For whom the plugin has the API server make this link."""
        return operators_with_pages()


class SegmindTabLink(_LinkIntoAirflow):
    """The tab of this task instance that shows before and after."""

    name = "Before and after"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the tab's address within Airflow; empty before Airflow 3.1, which has no such tabs."""
        if not HAS_TABS:
            return ""
        task = f"dags/{_part(ti_key.dag_id)}/runs/{_part(ti_key.run_id)}/tasks/{_part(ti_key.task_id)}"
        index = _map_index(ti_key)
        return f"{task}/mapped/{index}/plugin/{_TAB}" if index >= 0 else f"{task}/plugin/{_TAB}"


class SegmindPageLink(_LinkIntoAirflow):
    """The same as a page of its own: for who may not see plugins' tabs (FAB's Viewer and User), and for more room."""

    name = "Before and after, as a page"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the page's address within Airflow; empty on Airflow 2, which serves no pages of this kind."""
        if not HAS_PAGES:
            return ""
        ids = {"dag_id": ti_key.dag_id, "run_id": ti_key.run_id, "task_id": ti_key.task_id}
        return f"{_PAGE}?{urlencode(ids | {'map_index': _map_index(ti_key)}, quote_via=quote, safe='')}"


def written_by_tasks(operator: BaseOperator) -> Collection[BaseOperatorLink]:
    """Return the links of an operator that a process of its tasks has to write."""
    if not HAS_PAGES or (type(operator).__module__, type(operator).__name__) not in _NAMES:
        return operator.operator_extra_links
    return [link for link in operator.operator_extra_links if not isinstance(link, _LinkIntoAirflow)]


def _part(name: str) -> str:
    return quote(name, safe="")


def _map_index(ti_key: TaskInstanceKey) -> int:
    return -1 if ti_key.map_index is None else ti_key.map_index
