"""The command line: ``python -m airflow_provider_segmind``, and ``airflow segmind`` where Airflow loads it."""
