"""
The version of Airflow, where no attribute shows what it can do.

Separate from ``compat.py``, because every process imports the plugin and with it this module.
"""

from __future__ import annotations

from airflow import __version__

#: Major and minor version.
AIRFLOW = tuple(int(part) for part in __version__.split(".")[:2])
#: Whether the UI shows tabs of plugins on a task instance, and whether the API server serves pages of plugins.
HAS_TABS, HAS_PAGES = AIRFLOW >= (3, 1), AIRFLOW >= (3, 0)
