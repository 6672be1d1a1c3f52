"""The terminal: ``python -m airflow_provider_segmind``, and ``airflow segmind`` where Airflow takes commands."""
