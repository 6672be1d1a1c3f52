"""The pages that the provider adds to Airflow's UI."""
