"""The hook: from an Airflow connection to Segmind."""
