"""The Airflow that runs, for what no attribute tells. Apart from ``compat.py``: every process imports our plugin."""

from __future__ import annotations

from airflow import __version__

#: Major and minor version.
AIRFLOW = tuple(int(part) for part in __version__.split(".")[:2])
#: Whether the UI has tabs of plugins on a task instance, and whether the API server serves pages of plugins.
HAS_TABS, HAS_PAGES = AIRFLOW >= (3, 1), AIRFLOW >= (3, 0)
