"""
The Airflow plugin: a tab on every task instance, and a gallery in the navigation.

Both are static pages in an iframe of Airflow's UI. They read Airflow's REST API with the session of the user, so a user
sees nothing here that Airflow's API would refuse. Airflow finds the plugin by the entry point ``airflow.plugins`` and
imports it in every process, tasks included, so this module imports only two base classes of Airflow.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowPlugin

from airflow_provider_segmind.airflow_version import HAS_PAGES
from airflow_provider_segmind.links.pages import SegmindPageLink, SegmindTabLink
from airflow_provider_segmind.plugins.pages import Pages

#: Airflow fills in these fields, except ``{MAP_INDEX}`` if the task is not mapped.
_TASK_INSTANCE = "dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}"


class SegmindPlugin(AirflowPlugin):
    """
    Register the tab "Upscaled" and the gallery "Segmind".

    Addresses have no leading slash, so that they work below a path in ``[api] base_url`` too. A user without the
    permission "can read on Plugins" (FAB's Viewer and User) sees neither; the operators have an extra link to the page.
    """

    name = "segmind"
    operator_extra_links = [SegmindTabLink(), SegmindPageLink()] if HAS_PAGES else []
    fastapi_apps = [{"name": "segmind", "app": Pages(), "url_prefix": "/segmind"}]
    external_views = [
        {
            "name": "Upscaled",
            "href": f"segmind/view.html?{_TASK_INSTANCE}",
            "destination": "task_instance",
            "url_route": "segmind-upscaled",
            "icon": "segmind/icon.svg",
            "icon_dark_mode": "segmind/icon_dark.svg",
        },
        {
            "name": "Segmind",
            "href": "segmind/gallery.html",
            "destination": "nav",
            "category": "browse",
            "url_route": "segmind-gallery",
            "icon": "segmind/icon.svg",
            "icon_dark_mode": "segmind/icon_dark.svg",
        },
    ]
