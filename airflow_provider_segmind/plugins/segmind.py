"""
The Airflow plugin: a tab on every task instance, and a gallery in the navigation.

Both are static pages in an iframe of Airflow's UI that read Airflow's own REST API with the session of whoever looks,
so nobody sees more here than there. Airflow finds the plugin by the entry point ``airflow.plugins`` and imports it in
every process, tasks included: of Airflow, nothing but the two base classes is imported here.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import AirflowPlugin

from airflow_provider_segmind.airflow_version import HAS_PAGES
from airflow_provider_segmind.links.pages import SegmindPageLink, SegmindTabLink
from airflow_provider_segmind.plugins.pages import Pages

#: Airflow fills these in. For a task that is not mapped, ``{MAP_INDEX}`` arrives as it stands here.
_TASK_INSTANCE = "dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}"


class SegmindPlugin(AirflowPlugin):
    """
    The tab "Upscaled" and the gallery "Segmind".

    Addresses have no leading slash, so that they hold below a path in ``[api] base_url``, too. Whoever has no "can
    read on Plugins" (FAB's Viewer and User) is shown neither; the extra link on the operators leads there as well.
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
