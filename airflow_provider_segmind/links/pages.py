"""
Links on a task instance to pages inside Airflow: before and after, as a tab and as a page.

They follow from the ids of the task instance alone. From Airflow 3 on, the plugin makes the API server create them for
the operators of this package, so tasks do not write them. The API server does not know a user's subclass of an
operator, so its tasks write these two links like the others. A page that this version of Airflow does not have gets no
link. The links have no leading slash, so that they also work below a path in ``[api] base_url``.
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

#: The names under which the plugin registers its tab and its page.
_TAB, _PAGE = "segmind-upscaled", "segmind/view.html"
_PACKAGE = __name__.partition(".")[0]
#: The operators that have these links and no model of their own, and their modules.
_OPERATORS = {
    "SegmindRunModelOperator": "operators.segmind",
    "SegmindRunWorkflowOperator": "operators.segmind",
    "_SegmindDecoratedOperator": "decorators.segmind",
    "SegmindRequestSensor": "sensors.segmind",
    "SegmindToObjectStorageOperator": "transfers.segmind_to_object_storage",
}


@cache
def _operator_names() -> list[tuple[str, str]]:
    """Return module and name of each operator with these links. Airflow imports this module in every process."""
    from airflow_provider_segmind.protocol.models import MODELS

    typed = {model.operator: "operators.segmind" for model in MODELS.values()}
    return [(f"{_PACKAGE}.{module}", name) for name, module in {**_OPERATORS, **typed}.items()]


@cache
def operators_with_pages() -> list[type[BaseOperator]]:
    """Return the operators of this package that have these links; imports them."""
    return [getattr(import_module(module), name) for module, name in _operator_names()]


class _LinkIntoAirflow(BaseOperatorLink):
    @property
    def operators(self) -> list[type[BaseOperator]]:  # type: ignore[override]
        """The operators for which the API server creates this link."""
        return operators_with_pages()


class SegmindTabLink(_LinkIntoAirflow):
    """The tab of a task instance that shows before and after."""

    name = "Before and after"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the tab's address within Airflow; empty before Airflow 3.1, which has no such tabs."""
        if not HAS_TABS:
            return ""
        task = f"dags/{_part(ti_key.dag_id)}/runs/{_part(ti_key.run_id)}/tasks/{_part(ti_key.task_id)}"
        index = _map_index(ti_key)
        return f"{task}/mapped/{index}/plugin/{_TAB}" if index >= 0 else f"{task}/plugin/{_TAB}"


class SegmindPageLink(_LinkIntoAirflow):
    """The same as a full page, also for users who may not see plugins' tabs (FAB's Viewer and User)."""

    name = "Before and after (full page)"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the page's address within Airflow; empty on Airflow 2, which does not serve such pages."""
        if not HAS_PAGES:
            return ""
        ids = {"dag_id": ti_key.dag_id, "run_id": ti_key.run_id, "task_id": ti_key.task_id}
        return f"{_PAGE}?{urlencode(ids | {'map_index': _map_index(ti_key)}, quote_via=quote, safe='')}"


def written_by_tasks(operator: BaseOperator) -> Collection[BaseOperatorLink]:
    """Return the links of an operator that its tasks have to write themselves."""
    if not HAS_PAGES or (type(operator).__module__, type(operator).__name__) not in _operator_names():
        return operator.operator_extra_links
    return [link for link in operator.operator_extra_links if not isinstance(link, _LinkIntoAirflow)]


def _part(name: str) -> str:
    return quote(name, safe="")


def _map_index(ti_key: TaskInstanceKey) -> int:
    return -1 if ti_key.map_index is None else ti_key.map_index
