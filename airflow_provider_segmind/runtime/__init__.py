"""What a task needs from the Airflow that it runs in: its context, its failures, its deferrals, settings."""
