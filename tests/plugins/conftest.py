"""The plugin is part of the API server, which exists from Airflow 3 on."""

from tests.airflow_versions import AIRFLOW

collect_ignore = ["test_preview_route.py"] if AIRFLOW < (3, 0) else []
