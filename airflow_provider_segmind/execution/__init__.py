"""What a task does, as plain classes without Airflow's operators. Start with ``engine.py``: the life of a request."""
