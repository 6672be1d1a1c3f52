"""The Airflow hook: one method per operation of Segmind."""
