"""The rules of Segmind's API as pure functions and data: no I/O, no clock, no Airflow, no httpx."""
